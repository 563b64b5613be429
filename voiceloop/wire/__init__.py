"""Sans-I/O codecs of what goes over the wire."""
