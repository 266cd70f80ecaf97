"""What is installed and what works on this machine.

Any package may be missing or broken here, so what needs one is imported where it is tried.
"""
