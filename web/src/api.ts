// The types of the API, made of /openapi.json: WHIPCAST_UPDATE=1 go test ./api

export interface Adaptation {
  /** False: the viewer chose. */
  automatic: boolean
  /** Changes to a lesser layer. */
  downs: number
  /** What the viewer's network is known to carry, in bit/s; it may carry more. */
  estimate?: number
  /** RID of the layer that is sent now; none without simulcast. */
  layer?: string
  /** Tries whether the network carries a better layer. */
  probes: number
  /** Changes to a better layer. */
  ups: number
}

export interface Clip {
  /** Where people find that. */
  at: string
  begin: string
  /** Of media, in seconds. */
  duration: number
  end: string
  /** Files that are missing. */
  gaps: number
  /** Of its multivariant playlist. */
  key: string
  name: string
  place: string
  segments: number
  /** How long after begin players start, in seconds. */
  start: number
}

export interface ClipList {
  clips: Clip[]
  /** Cursor of the next page; none at the end. */
  next?: string
}

export interface ClipRequest {
  /** A date as of RFC 3339, now, -5m for five minutes ago, or 00:10:00 for ten minutes after the begin of the newest replay. */
  from: string
  /** By default its begin. */
  name?: string
  /** By default all that keep media. */
  place?: string
  /** As from. */
  to: string
}

export interface ConfigList {
  config: Setting[]
  /** Cursor of the next page; none at the end. */
  next?: string
}

export interface Cut {
  /** Empty: the program's picture rests. */
  seat: string
}

export interface Document {
  /** For programs: it is never changed. */
  code: string
  /** Cause and remedy, for a person. */
  detail?: string
  /** The status of the response. */
  status: number
  /** Short, the same each time; for a person. */
  title: string
}

export interface DrainRequest {
  /** Seconds from now after which publishers are ended; by default drain.deadline. */
  deadline?: number
  /** Base URL of the gateway that new WHIP and WHEP sessions are sent to. By default drain.peer; empty: they are told to try again later. */
  to?: string
}

export interface Drainage {
  /** When publishers are ended. */
  deadline?: string
  /** New sessions are refused; the gateway stops when the last publisher has ended. */
  draining: boolean
  /** The last publisher has ended and the gateway stops: it cannot be taken back. */
  over?: boolean
  /** Streams that are waited for, and that would be now: those that are published, but not fetched. */
  published: string[]
  since?: string
  /** Where new sessions are sent. */
  to?: string
  /** Sessions that watch, which are ended last. */
  viewers: number
}

export interface Event {
  data?: unknown
  id: number
  stream?: string
  time: string
  type: string
}

export interface Finding {
  code: string
  /** Behind it, where there is one. */
  measure?: Measure
  /** What to do about it. */
  remedy: string
  severity: 'note' | 'warning' | 'problem'
  since: string
  /** What is wrong. */
  words: string
}

export interface Hop {
  /** Median, in seconds. */
  p50: number
  /** In seconds. */
  p95: number
  samples: number
}

export interface ICE {
  /** Addresses that the other side was told. */
  advertised: unknown
  /** What the other side offered, by kind. */
  offered: unknown
  /** What to do about it. */
  remedy?: string
  /** Pairs of addresses, and how it went. */
  tried: unknown
  /** In one line. */
  words: string
}

export interface Invitation {
  expires: string
  seat: Seat
  /** It is shown once, and kept nowhere. */
  token: string
  /** Path of the page, with the token. */
  url: string
}

export interface Layer {
  /** Of the payloads, in bit/s, over the last two seconds. */
  bitrate?: number
  /** Of their payloads. */
  bytes: number
  codec: string
  /** What is wrong with it, the worst first; of one stream only. */
  findings?: Finding[]
  kind: 'audio' | 'video'
  /** Of the present or the last publisher, without repeated ones. */
  packets: number
  /** Of a simulcast layer. */
  rid?: string
}

export interface Marker {
  /** Client attributes: names are X- and capital letters, digits and hyphens. */
  attributes?: Record<string, string>
  class?: string
  /** In seconds; 0 is an instant. */
  duration?: number
  end?: string
  /** Names the marker in its stream; the same one again adds to it. */
  id: string
  /** Planned duration, in seconds. */
  planned?: number
  /** A whole splice_info_section, in Base64: the break ends. */
  scte35In?: string
  /** A whole splice_info_section, in Base64: a break begins. */
  scte35Out?: string
  /** By default the live edge. */
  start?: string
}

export interface Measure {
  unit: string
  value: number
}

export interface Message {
  /** When it is due, at most 30 s from now; by default now. */
  at?: string
  /** In Base64, instead of text. */
  bytes?: string
  /** In ASCII; players tell messages apart by it. */
  label: string
  text?: string
}

export interface Program {
  /** The seat whose keyframe is waited for. */
  cutting?: string
  /** Why it has no new picture. */
  error?: string
  live: boolean
  /** The seat whose picture it has. */
  picture?: string
  /** Why the audience sees no picture that moves. */
  rest?: string
}

export interface Rendition {
  /** Mean bit rate, in bit/s. */
  average?: number
  codecs: string
  frameRate?: number
  /** Highest bit rate of a segment, in bit/s. */
  peak: number
  resolution?: string
  /** Of its playlist, relative to the multivariant one. */
  uri: string
}

export interface Replay {
  /** Where people find that. */
  at: string
  begin: string
  /** Of media, in seconds. */
  duration: number
  end: string
  /** Files that are missing. */
  gaps: number
  /** Of its multivariant playlist. */
  key: string
  place: string
  presentation: string
  segments: number
  /** When it goes; without it stays. */
  until?: string
}

export interface ReplayList {
  /** Cursor of the next page; none at the end. */
  next?: string
  replays: Replay[]
}

export interface Report {
  /** Seconds loaded ahead. */
  buffer?: number
  /** In seconds, for players that do not know that. */
  latency?: number
  /** Program date-time of the picture on the screen, in milliseconds since 1970. */
  playing?: number
  /** Times that the picture stood still since the report before. */
  stalls?: number
}

export interface Revocation {
  at: string
  principal?: string
  stream?: string
  /** The id of a token. */
  token?: string
  /** What it takes back has expired by then. */
  until: string
}

export interface RevocationList {
  /** Cursor of the next page; none at the end. */
  next?: string
  revocations: Revocation[]
}

export interface RevocationRequest {
  /** All that it got until now. */
  principal?: string
  /** All tokens that were made until now for this stream. */
  stream?: string
  /** A token, its id, or key:NAME. */
  token?: string
}

export interface Seat {
  /** Its stream is live. */
  connected: boolean
  /** Of its invitation; not told to seats. */
  expires?: string
  /** The name that people see. */
  label: string
  /** How loud it was of late, in dBFS; -127 is silence, or not known. */
  level: number
  /** Not heard in the program. */
  muted: boolean
  name: string
  /** Its picture is in the program. */
  picture: boolean
  role: 'host' | 'guest'
  /** Of its state. */
  since: string
  speaking: boolean
  /** on_air: heard in the program, unless muted. backstage: sees, hears and is heard by the others. waiting: not let in yet. left: its publisher is gone, and finds its place when it comes back. */
  state: 'invited' | 'waiting' | 'backstage' | 'on_air' | 'left'
  /** Its stream: that of its WHIP and WHEP. */
  stream: string
}

export interface SeatChange {
  label?: string
  muted?: boolean
  role?: 'host' | 'guest'
  /** Of one that is not there: where it gets when it comes. */
  state?: 'waiting' | 'backstage' | 'on_air'
}

export interface SeatRequest {
  /** The name that people see; by default that of the seat. */
  label?: string
  role?: 'host' | 'guest'
  /** Its name: letters, digits, _ and -; by default a new one of its role. */
  seat?: string
  /** How long the seat can be taken, in seconds; who has taken it keeps it for a day more. Nothing is valid longer than the token that asks. */
  ttl?: number
}

export interface Session {
  /** Media can flow. */
  connected: boolean
  /** Of one session by WHIP or WHEP only: how the two sides reach each other. */
  ice?: ICE
  /** It names the session here and, shortened, in the log; no secret. */
  id: string
  kind: 'publish' | 'watch'
  /** Who it belongs to. */
  principal?: string
  protocol: 'whip' | 'whep' | 'rtsp'
  since: string
  /** Of one session only. */
  statistics?: Statistics
  stream: string
}

export interface SessionList {
  /** Cursor of the next page; none at the end. */
  next?: string
  sessions: Session[]
}

export interface Setting {
  key: string
  /** The value is a secret, or has some, which are not shown. */
  secret?: boolean
  /** Text as in the file, or groups of keys. Secrets are not shown. */
  value: unknown
}

export interface Source {
  /** Of the last attempt. */
  error?: string
  /** Attempts in a row. */
  failed: number
  since: string
  state: 'waiting' | 'connecting' | 'fetching' | 'failing'
  stream: string
}

export interface SourceList {
  /** Cursor of the next page; none at the end. */
  next?: string
  sources: Source[]
}

export interface SourceSettings {
  /** Of the certificate behind rtsps://, SHA-256 in hexadecimal digits. */
  fingerprint?: string
  /** Only while somebody watches. */
  on_demand?: boolean
  /** rtsp:// or rtsps://, with user and password where needed. */
  url: string
}

export interface Stage {
  /** ask: guests wait until they are let in. */
  admit: 'ask' | 'auto'
  /** speaker: the picture is that of who speaks. */
  auto_cut: 'off' | 'speaker'
  /** How long a picture stays at least when it is cut so, in seconds. */
  hold: number
  /** Of the stage, and of its program's stream. */
  name: string
  program: Program
  seats: Seat[]
}

export interface StageList {
  /** Cursor of the next page; none at the end. */
  next?: string
  stages: Stage[]
}

export interface StageSettings {
  /** auto: guests are backstage at once. */
  admit?: 'ask' | 'auto'
  /** speaker: the picture is that of who speaks. */
  auto_cut?: 'off' | 'speaker'
  /** How long a picture stays at least when it is cut so, in seconds. */
  hold?: number
}

export interface StageView {
  /** Who asks; none for the control room. */
  me?: Seat
  program: Program
  /** The others that it may play, or all for the control room. */
  seats: Seat[]
  stage: string
}

export interface Statistics {
  /** Of who watches video by WHEP. */
  adaptation?: Adaptation
  bytesReceived: number
  bytesSent: number
  /** Kind of our candidate: host, srflx, prflx or relay. */
  local?: string
  packetsReceived: number
  packetsSent: number
  /** Kind of theirs. */
  remote?: string
  /** In seconds. */
  roundTrip?: number
  /** udp or tcp. */
  transport?: string
}

export interface Storage {
  /** Of these in memory. */
  bytes: number
  /** The last one, while it fails or did of late. */
  error?: string
  /** How long nothing has got through, in seconds. */
  failing?: number
  /** What is to be done about streams that are not written, because another gateway does. */
  fenced: string[]
  /** That wait. */
  files: number
  /** Files that playlists say are missing. */
  missing: number
  name: string
  /** Age of the oldest that waits, in seconds. */
  oldest: number
  /** The last error of the spool, while it fails. */
  spoolError?: string
  /** Bytes in the spool. */
  spooled: number
  state: 'working' | 'behind' | 'down' | 'refused'
}

export interface StorageList {
  /** Cursor of the next page; none at the end. */
  next?: string
  storage: Storage[]
}

export interface Stream {
  /** Counts its publishers. */
  epoch: number
  /** By hop; of one stream only. */
  latency?: Record<string, Hop>
  /** What is published, or was at last. */
  layers: Layer[]
  /** Somebody publishes it. */
  live: boolean
  name: string
  /** What HLS players choose from; of one stream only. */
  renditions?: Rendition[]
  /** Path of the page. */
  seat: string
  /** Of the last change of live or epoch. */
  since: string
  viewers?: Viewers
  /** Path of the page. */
  watch: string
}

export interface StreamList {
  /** Cursor of the next page; none at the end. */
  next?: string
  streams: Stream[]
}

export interface Token {
  actions: string[]
  expires: string
  /** To revoke it by; no secret. */
  id: string
  principal: string
  streams: string[]
  /** It is shown once, and kept nowhere. */
  token: string
}

export interface TokenRequest {
  actions: ('publish' | 'play' | 'admin')[]
  /** In seconds; not longer than that of the token which asks. */
  lifetime?: number
  /** Who it is for; tokens of one principal take over each other's streams. */
  principal?: string
  /** Names; a * at the end stands for any rest. */
  streams: string[]
}

export interface Viewers {
  /** Estimate: different players that asked the gateway for a playlist in the last 20 to 30 s. Behind a CDN it sees the CDN's requests only. */
  hls: number
  /** Sessions by RTSP that play. */
  rtsp: number
  /** All of them. */
  total: number
  /** Sessions by WHEP that are connected. */
  whep: number
}
