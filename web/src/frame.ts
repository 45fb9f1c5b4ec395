// A picture and nothing else, for OBS's browser source and for frames in other
// pages: transparent, with sound, connected for ever.

import './embed'
import { WhipcastPlayer } from './embed'
import { find, setText } from './dom'
import { expose } from './figures'
import { streamOf } from './names'
import { takeToken, token } from './token'

takeToken()
const name = streamOf(location.pathname)
const wanted = new URLSearchParams(location.search)
const player = find('player', WhipcastPlayer)

setText(find('name', HTMLElement), name)
document.title = name
// In OBS it is the host who looks: what is now counts more than what scales.
const mode = wanted.get('mode')
player.mode = mode === 'hls' || mode === 'auto' ? mode : 'whep'
player.muted = wanted.has('muted')
player.controls = wanted.has('controls')
player.clean = !player.controls
if (wanted.get('fit') === 'cover') player.classList.add('fills')
player.token = token()
player.stream = name
expose(() => ({ ...player.stats(), way: player.way ?? '' }))
