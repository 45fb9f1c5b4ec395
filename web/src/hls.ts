// hls.js, as a module of its own: our pages load it when they play, and
// /embed-hls.js gives it to pages elsewhere.
export { default } from 'hls.js'
