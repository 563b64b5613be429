"""Codecs of what goes over the wire: bytes to values and back, without any I/O."""
