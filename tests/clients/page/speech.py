from openai import OpenAI

client = OpenAI(api_key="your-api-key", base_url="https://api.3xcoder.com/v1")
response = client.audio.speech.create(model="tts-1", voice="alloy", input="Hello, welcome to 3xCoder!")
response.stream_to_file("speech.mp3")
