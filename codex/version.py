"""What this software calls itself, as the API and the command line show it."""

VERSION = "v0.1.0"
REVISION = "python"
CONTRACTS = "a179deb2"
"""The revision of the network's contracts whose interface this node speaks."""
