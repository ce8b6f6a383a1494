// Receive every message of a tinyast daemon, and lose none. Needs the package zeromq.
//
//     npm install && node listen.mjs [--since 0]
//
// Prints one line for each message: its seq, a summary, and the path of the sound, with tabs between.
// docs/messages.md is the contract. The parts that matter here:
//
// - Every message is two frames, a topic and a JSON object.
// - `seq` numbers all messages: 1, 2, 3, … We keep one number, up to which we have had every
//   message. If the next message is not the one after it, or a heartbeat names a newer one, some
//   were lost.
// - A second socket sends lost messages again: ask it for everything after our number. We ask for
//   the newest message that we have, too: if another is in its place, the daemon's journal was put
//   back (a restored snapshot, say), and we go back to where the two part.
// - A daemon with `[pictures] publish = true` also publishes what its model saw of each window: a
//   PNG in base64. Pictures have no seq, and replay has none. `--picture FILE` saves the next one.
// - A heartbeat comes every 5 s. If none comes, the daemon hangs or is gone, or the connection is.
// - A daemon with keys accepts only clients it knows: both sockets send our key and check its key.

import { readFileSync, writeFileSync } from "node:fs"
import { parseArgs } from "node:util"
import * as zmq from "zeromq"

const REMEMBERED = 10_000 // messages whose id we keep, in case the journal is put back
const ANSWER_MS = 5_000 // a running daemon answers far sooner
const SILENT_MS = 15_000 // three heartbeats

let keys = {} // options of every socket; empty for a daemon without keys

/** The keys of a certificate file as `tinyastd keygen` writes it, by name. */
function readKeys(file) {
  const lines = readFileSync(file, "utf8").matchAll(/^\s*([a-z]+)-key\s*=\s*"([^"]{40})"/gm)
  return Object.fromEntries([...lines].map(([, name, key]) => [name, key]))
}

function showKeys(server, own) {
  if (server === undefined && own === undefined) return
  if (server === undefined || own === undefined)
    throw new Error("--server-key and --own-key go together")
  const { public: curvePublicKey, secret: curveSecretKey } = readKeys(own)
  if (curveSecretKey === undefined)
    throw new Error(`${own} holds no secret key; name the file that ends in key_secret`)
  keys = { curveServerKey: readKeys(server).public, curvePublicKey, curveSecretKey }
}

/** Ask replay: its header, and [topic, body] of each message as published; null: no answer. */
async function ask(endpoint, request) {
  const socket = new zmq.Request({ receiveTimeout: ANSWER_MS, linger: 0, ...keys })
  socket.connect(endpoint)
  try {
    await socket.send(JSON.stringify(request))
    const [header, ...frames] = await socket.receive()
    const answer = JSON.parse(header)
    if (answer.error) throw new Error(`the daemon refuses: ${answer.error.text}`)
    const messages = []
    for (let i = 0; i < frames.length; i += 2) messages.push([frames[i], frames[i + 1]])
    return [answer, messages]
  } catch (error) {
    if (error.code !== "EAGAIN") throw error
    return null
  } finally {
    socket.close()
  }
}

const warn = (text) => console.error(`listen.mjs: ${text}`)

/** Our place in the stream: we have had every message up to `position`. */
class Place {
  journal = null // seq counts within one journal
  ids = new Map() // by seq, of the messages that we have had; newest last

  constructor(position) {
    this.position = position
  }

  note({ seq, id }) {
    this.ids.delete(seq)
    this.ids.set(seq, id)
    if (this.ids.size > REMEMBERED) this.ids.delete(this.ids.keys().next().value)
  }

  /** Whether a published message is the next one; null if replay has to tell. */
  isNext(message) {
    const { seq, id } = message
    if (message.journal !== this.journal || seq > this.position + 1) return null
    if (seq === this.position + 1) {
      this.note(message)
      this.position = seq
      return true
    }
    return (this.ids.get(seq) ?? id) === id ? false : null
  }

  /** What to ask replay for: from the newest message that we have, if we know its id. */
  since() {
    return this.ids.has(this.position) ? this.position - 1 : this.position
  }

  /** The new messages in an answer of replay, as [topic, message]; null: ask from elsewhere. */
  take(header, batch) {
    const isOther = this.journal !== null && this.journal !== header.journal
    this.journal = header.journal
    if (isOther || this.wasPutBack(header, batch)) {
      warn("the daemon's journal is another one or was put back; comparing it with ours")
      const oldest = this.ids.size === 0 ? 0 : Math.min(...this.ids.keys())
      const isThere = isOther || oldest < this.position // else not even the oldest message is
      if (!isThere) this.ids.clear()
      this.position = isThere ? oldest : 0
      return null
    }
    const lost = header.oldest - this.position - 1
    if (lost > 0) warn(`${lost} messages were lost: they are deleted`)
    const fresh = batch.filter(
      ([, { seq, id }]) => seq > this.position && this.ids.get(seq) !== id,
    )
    for (const [, message] of batch) this.note(message)
    this.position = header.next
    return fresh
  }

  wasPutBack(header, batch) {
    if (header.newest < this.position) return true
    const known = this.ids.get(this.position)
    if (known === undefined || header.oldest > this.position) return false
    return batch.length === 0 || batch[0][1].id !== known
  }
}

/**
 * Every message after seq `since`, each once, as [topic, message]; undefined: from now on.
 * Pictures come as they are published; each before the prediction that has the same `id`.
 */
async function* listen(publish, replay, since) {
  const subscriber = new zmq.Subscriber({ receiveTimeout: SILENT_MS, ...keys })
  subscriber.subscribe("tinyast.v1.")
  subscriber.connect(publish) // before asking replay, so that no message falls between the two
  try {
    const answer = await ask(replay, { since: 0, limit: 1 })
    if (answer === null)
      throw new Error(`no daemon answers at ${replay}; start one with \`tinyastd run\``)
    yield* follow(subscriber, publish, replay, new Place(since ?? answer[0].newest))
  } finally {
    subscriber.close()
  }
}

/** The next message published, however long that takes. */
async function receive(subscriber, publish) {
  for (;;) {
    try {
      return await subscriber.receive()
    } catch (error) {
      if (error.code !== "EAGAIN") throw error
      warn("no sign of life from the daemon; connecting again")
      subscriber.disconnect(publish)
      subscriber.connect(publish)
    }
  }
}

async function* follow(subscriber, publish, replay, place) {
  let behind = true // whether replay has messages that we have not had

  for (;;) {
    if (behind) {
      const answer = await ask(replay, { since: place.since() })
      if (answer === null) {
        warn("the daemon does not answer; asking again")
        continue
      }
      const [header, pairs] = answer
      const batch = pairs.map(([topic, body]) => [topic.toString(), JSON.parse(body)])
      const fresh = place.take(header, batch)
      if (fresh !== null) {
        yield* fresh
        behind = place.position < header.newest
      }
      continue
    }
    const [topic, body] = await receive(subscriber, publish)
    const message = JSON.parse(body)
    if (message.type === "heartbeat") {
      const newest = Math.max(...Object.values(message.last))
      behind = message.journal !== place.journal || newest !== place.position
    } else if (message.type === "picture") {
      yield [topic.toString(), message]
    } else if (message.seq !== undefined) {
      const isNext = place.isNext(message) // types added later may have no seq
      behind = isNext === null
      if (isNext) yield [topic.toString(), message]
    }
  }
}

/** A message as one line: seq, what it says, path. */
function line(topic, message) {
  const said = topic.slice("tinyast.v1.".length)
  const what =
    message.type === "prediction" ? `${message.label} ${message.score.toFixed(3)}` : said
  const path = message.source?.path ?? null
  return `${message.seq}\t${what}\t${JSON.stringify(path)}` // JSON, so that no name breaks the line
}

async function main() {
  const { values: options } = parseArgs({
    options: {
      publish: { type: "string", default: "tcp://127.0.0.1:5755" }, // endpoint of live messages
      replay: { type: "string", default: "tcp://127.0.0.1:5756" }, // endpoint of older messages
      "server-key": { type: "string" }, // the daemon's public key file, server.key
      "own-key": { type: "string" }, // our secret key file, NAME.key_secret
      since: { type: "string" }, // begin after this seq; 0 for everything stored
      picture: { type: "string" }, // save the next picture to this file (PNG)
      count: { type: "string" }, // stop after this many files
    },
  })
  showKeys(options["server-key"], options["own-key"])
  const since = options.since === undefined ? undefined : Number(options.since)
  let files = 0
  for await (const [topic, message] of listen(options.publish, options.replay, since)) {
    if (message.type === "picture") {
      if (options.picture !== undefined)
        writeFileSync(options.picture, Buffer.from(message.png, "base64"))
      options.picture = undefined
      continue
    }
    console.log(line(topic, message))
    if (message.type === "file") files += 1
    if (files === Number(options.count)) return
  }
}

try {
  await main()
} catch (error) {
  console.error(`listen.mjs: ${error.message}`)
  process.exitCode = 1
}
