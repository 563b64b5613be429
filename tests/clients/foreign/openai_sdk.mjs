// What OpenAI's SDK for JavaScript gets from a server, as JSON on standard output: {name: what came, or the error}.
//
//     OPENAI_BASE_URL=... OPENAI_API_KEY=... RECORDING=... FOLDER=... node --input-type=module < openai_sdk.mjs
//
// Read from standard input, so that `openai` is looked for in the current folder.
import { createReadStream, createWriteStream } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import OpenAI, { toFile } from 'openai'

const { RECORDING, FOLDER } = process.env
const text = 'The quick brown fox jumps over the lazy dog.'
const client = new OpenAI()

const asked = {
  async speech() {
    const response = await client.audio.speech.create({ model: 'tts-1', voice: 'alloy', input: text })
    await writeFile(`${FOLDER}/node.mp3`, Buffer.from(await response.arrayBuffer()))
    return { contentType: response.headers.get('content-type'), file: 'node.mp3' }
  },
  async streamedSpeech() {
    const response = await client.audio.speech.create({
      model: 'gpt-4o-mini-tts', voice: 'sage', input: text, response_format: 'wav', instructions: 'Calm.'
    })
    await pipeline(Readable.fromWeb(response.body), createWriteStream(`${FOLDER}/node.wav`))
    return { contentType: response.headers.get('content-type'), file: 'node.wav' }
  },
  // A stream has no length: the SDK sends it chunked.
  async fileStream() {
    return await client.audio.transcriptions.create({ model: 'whisper-1', file: createReadStream(RECORDING) })
  },
  async buffer() {
    const file = await toFile(await readFile(RECORDING), 'speech.flac')
    return await client.audio.transcriptions.create({ model: 'gpt-4o-transcribe', file })
  },
  async verbose() {
    return await client.audio.transcriptions.create({
      model: 'whisper-1', file: createReadStream(RECORDING), response_format: 'verbose_json', language: 'en',
      timestamp_granularities: ['word', 'segment']
    })
  },
  async srt() {
    return await client.audio.transcriptions.create({
      model: 'whisper-1', file: createReadStream(RECORDING), response_format: 'srt'
    })
  },
  async streamedText() {
    const stream = await client.audio.transcriptions.create({
      model: 'gpt-4o-mini-transcribe', file: createReadStream(RECORDING), stream: true
    })
    const events = []
    for await (const event of stream) events.push(event)
    return events
  },
  async models() {
    const names = []
    for await (const model of client.models.list()) names.push(model.id)
    return names
  },
  async wrongKey() {
    return await refusal(new OpenAI({ apiKey: 'sk-wrong' }).models.list())
  },
  async noSuchVoice() {
    return await refusal(client.audio.speech.create({ model: 'tts-1', voice: 'nobody', input: text }))
  },
  async noSound() {
    const file = await toFile(Buffer.from('these are words, not sound'.repeat(100)), 'notes.wav')
    return await refusal(client.audio.transcriptions.create({ model: 'whisper-1', file }))
  }
}

async function refusal(promise) {
  try {
    await promise
  } catch (error) {
    const { name } = error.constructor
    return { name, status: error.status, param: error.param, type: error.type, requestID: error.requestID }
  }
  return { name: 'nothing was raised' }
}

const found = {}
for (const [name, ask] of Object.entries(asked)) {
  try {
    found[name] = await ask()
  } catch (error) {
    found[name] = { error: String(error), cause: String(error.cause) }
  }
}
console.log(JSON.stringify(found))
