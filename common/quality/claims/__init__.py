"""What a text states that can be true or false of its context, one file a kind of statement."""
