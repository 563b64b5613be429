curl https://api.3xcoder.com/v1/audio/speech \
  -H "Authorization: Bearer $OPENAI_API_KEY" \
  -H "Content-Type: application/json" \
  -d '{
    "model": "tts-1",
    "input": "Hello, welcome to 3xCoder!",
    "voice": "alloy"
  }' \
  --output speech.mp3
