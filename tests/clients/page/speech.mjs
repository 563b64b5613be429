const response = await fetch('https://api.3xcoder.com/v1/audio/speech', {
  method: 'POST',
  headers: {
    'Content-Type': 'application/json',
    'Authorization': `Bearer ${process.env.OPENAI_API_KEY}`
  },
  body: JSON.stringify({
    model: 'tts-1',
    input: 'Hello, welcome to 3xCoder!',
    voice: 'alloy'
  })
})
const buffer = await response.arrayBuffer()
// Save to file or play audio
