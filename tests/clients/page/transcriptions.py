from openai import OpenAI

client = OpenAI(api_key="your-api-key", base_url="https://api.3xcoder.com/v1")
with open("audio.mp3", "rb") as audio_file:
    transcript = client.audio.transcriptions.create(model="whisper-1", file=audio_file)
print(transcript.text)
