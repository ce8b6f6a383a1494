"""This project beside other classifiers."""
