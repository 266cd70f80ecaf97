"""The commands of `volseg`, one module a stage; each parses, calls, prints."""
