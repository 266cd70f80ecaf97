"""The nine networks, their layers, losses and measures."""
