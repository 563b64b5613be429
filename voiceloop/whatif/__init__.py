"""What other settings would have changed: the whole loop again on recorded sound, on virtual time.

The microphone, the delays of the services, the answers to the same words and the lengths of speech are the recorded
ones. VAD and embedded recognition run again. What the recording cannot know is shown as unknown.
"""
