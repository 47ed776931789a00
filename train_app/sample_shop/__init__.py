"""A simulated shop: catalogue, people, behaviour, a writer of reasons and the judge that knows its grammar."""
