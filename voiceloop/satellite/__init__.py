"""A microphone and a loudspeaker of a voiceloop server elsewhere: its client, with the devices of this machine."""
