"""`voiceloop doctor` and `voiceloop calibrate`: what works here, measured. Loaded only when asked for."""
