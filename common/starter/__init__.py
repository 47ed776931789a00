"""The starter base and the starter bundle: data only, made by train_app/make_starter.py."""
