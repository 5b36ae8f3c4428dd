"""What tests, examples and the demo share, shipped with the product: people, networks, leak counters.

Each file is imported by name.
"""
