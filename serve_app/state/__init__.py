"""What is live, and what is kept between requests."""
