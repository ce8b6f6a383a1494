// Receive every message of a tinyast daemon, and lose none. Needs the package zeromq.
//
//     npm install && node listen.mjs [--since 0]
//
// Prints one line for each message: its seq, a summary, and the path of the sound, with tabs between.
// docs/messages.md is the contract. The parts that matter here:
//
// - Every message is two frames, a topic and a JSON object.
// - `seq` numbers all messages, and `prev` is the seq of the previous message of the same type.
//   A `prev` that we have not seen reveals a loss; so does a `last` in the heartbeat beyond our seq.
// - A second socket sends lost messages again: ask it for everything after the last seq we have.
// - A heartbeat comes every 5 s. If none comes, the daemon hangs or is gone, or the connection is.
// - A daemon with keys accepts only clients it knows: both sockets send our key and check its key.

import { readFileSync } from "node:fs"
import { parseArgs } from "node:util"
import * as zmq from "zeromq"

const TYPES = ["prediction", "file", "event", "gap", "status"] // except the heartbeat, which has no seq
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

/** Ask replay: its header, and [topic, body] of each message as it was published. */
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
    throw new Error(`no daemon answers at ${endpoint}; start one with \`tinyastd run\``)
  } finally {
    socket.close()
  }
}

const allAt = (seq) => new Map(TYPES.map((type) => [type, seq]))

/** Every message after seq `since`, each once, as [topic, message]; undefined: from now on. */
async function* listen(publish, replay, since) {
  const subscriber = new zmq.Subscriber({ receiveTimeout: SILENT_MS, ...keys })
  subscriber.subscribe("tinyast.v1.")
  subscriber.connect(publish) // before asking replay, so that nothing falls between the two
  try {
    since ??= (await ask(replay, { since: 0, limit: 1 }))[0].newest
    yield* follow(subscriber, publish, replay, since)
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
      console.error("listen.mjs: nothing is heard of the daemon; connecting again")
      subscriber.disconnect(publish)
      subscriber.connect(publish)
    }
  }
}

async function* follow(subscriber, publish, replay, since) {
  let seen = allAt(since) // of each type, the newest seq we have had
  let journal = null // seq counts within one journal
  let missing = since // replay has to give what comes after this seq; null: nothing

  for (;;) {
    let header = null
    let batch
    if (missing === null) {
      batch = [await receive(subscriber, publish)]
    } else {
      ;[header, batch] = await ask(replay, { since: missing })
      const other = journal !== null && journal !== header.journal
      journal = header.journal
      if (other || missing > header.newest) {
        seen = allAt(0) // the daemon counts anew, so do we
        missing = 0
        continue
      }
      missing = header.next
    }

    for (const [topic, body] of batch) {
      const message = JSON.parse(body)
      const { type, seq, prev } = message
      if (message.journal !== journal) {
        missing = 0
      } else if (type === "heartbeat") {
        const late = TYPES.filter((each) => message.last[each] > seen.get(each))
        if (late.length > 0) missing = Math.min(...late.map((each) => seen.get(each)))
      } else if (!seen.has(type) || seq <= seen.get(type)) {
        continue // of a later version, or had before
      } else if (header === null && prev > seen.get(type)) {
        missing = seen.get(type)
      } else {
        seen.set(type, seq)
        yield [topic.toString(), message]
      }
    }

    if (header !== null && header.next === header.newest) {
      for (const [type, seq] of seen) seen.set(type, Math.max(seq, header.newest))
      missing = null // all is there; go on with what is published
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
      count: { type: "string" }, // stop after this many files
    },
  })
  showKeys(options["server-key"], options["own-key"])
  const since = options.since === undefined ? undefined : Number(options.since)
  let files = 0
  for await (const [topic, message] of listen(options.publish, options.replay, since)) {
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
