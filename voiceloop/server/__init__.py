"""`voiceloop serve`: an ASGI app, and beside it a process of low priority that does the work."""
