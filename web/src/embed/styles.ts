// The style of the elements. Pages change it by custom properties and parts.

/** Colours and controls. */
export const shared = `
:host {
  --_accent: var(--whipcast-accent, #2f5fd0);
  --_on-accent: var(--whipcast-on-accent, #fff);
  --_surface: var(--whipcast-surface, #fff);
  --_sunken: var(--whipcast-sunken, #eceef2);
  --_text: var(--whipcast-text, #1a1d23);
  --_soft: var(--whipcast-soft, #555d6a);
  --_edge: var(--whipcast-edge, #868e9b);
  --_live: var(--whipcast-live, #c4202f);
  --_on-live: #fff;
  --_warn: var(--whipcast-warn, #fff3d9);
  --_radius: var(--whipcast-radius, 10px);
  display: block;
  color: var(--_text);
  font-family: var(--whipcast-font, system-ui, sans-serif);
  line-height: 1.4;
}
/* Light or dark as the page around says by its color-scheme. */
@supports (color: light-dark(#fff, #000)) {
  :host {
    --_accent: var(--whipcast-accent, light-dark(#2f5fd0, #8fb0ff));
    --_on-accent: var(--whipcast-on-accent, light-dark(#fff, #10192e));
    --_surface: var(--whipcast-surface, light-dark(#fff, #1b1e25));
    --_sunken: var(--whipcast-sunken, light-dark(#eceef2, #252932));
    --_text: var(--whipcast-text, light-dark(#1a1d23, #e9ebef));
    --_soft: var(--whipcast-soft, light-dark(#555d6a, #a6aebb));
    --_edge: var(--whipcast-edge, light-dark(#868e9b, #707989));
    --_live: var(--whipcast-live, light-dark(#c4202f, #ff7b82));
    --_on-live: light-dark(#fff, #10192e);
    --_warn: var(--whipcast-warn, light-dark(#fff3d9, #33290f));
  }
}
:host([hidden]), [hidden] { display: none !important; }
* { box-sizing: border-box; }
p, h2, h3, ul { margin: 0; padding: 0; }
button, select, input {
  font: inherit;
  color: inherit;
  min-height: 2.75rem;
  border: 1px solid var(--_edge);
  border-radius: 8px;
  background: var(--_surface);
}
button { padding: 0.4rem 1rem; white-space: nowrap; cursor: pointer; touch-action: manipulation; }
button:disabled { opacity: 0.55; cursor: default; }
button.primary { background: var(--_accent); border-color: var(--_accent); color: var(--_on-accent); font-weight: 600; }
button[aria-pressed='true'] { background: var(--_live); border-color: var(--_live); color: var(--_on-live); font-weight: 600; }
select { width: 100%; padding: 0.4rem 0.75rem; }
:focus-visible { outline: 3px solid var(--_accent); outline-offset: 2px; }
.offscreen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
`

/** A picture with what lies over it. */
export const screen = `
.screen {
  position: relative;
  overflow: hidden;
  width: 100%;
  aspect-ratio: var(--whipcast-aspect, 16 / 9);
  background: var(--whipcast-background, #0b0d11);
  border-radius: var(--_radius);
  color: #f1f3f6;
}
.screen video {
  position: absolute;
  inset: 0;
  width: 100%;
  height: 100%;
  object-fit: var(--whipcast-fit, contain);
}
.screen video.front { z-index: 1; }
.screen video.mirror { transform: scaleX(-1); }
.screen .cover {
  position: absolute;
  inset: 0;
  z-index: 2;
  display: grid;
  place-content: center;
  gap: 0.5rem;
  padding: 1rem;
  text-align: center;
  background: var(--whipcast-cover, rgb(11 13 17 / 0.78));
}
.title { font-size: 1.15rem; font-weight: 600; }
.badge {
  position: absolute;
  z-index: 3;
  top: 0.6rem;
  left: 0.6rem;
  padding: 0.1rem 0.55rem;
  border-radius: 999px;
  background: rgb(11 13 17 / 0.72);
  color: #f1f3f6;
  font-size: 0.85rem;
  font-weight: 600;
}
.unmute {
  position: absolute;
  z-index: 4;
  left: 50%;
  bottom: 1rem;
  transform: translateX(-50%);
  white-space: nowrap;
  box-shadow: 0 2px 12px rgb(0 0 0 / 0.5);
}
`

/** The player alone. */
export const player = `
:host { position: relative; height: auto; }
.screen:fullscreen { border-radius: 0; aspect-ratio: auto; height: 100%; }
.controls {
  position: absolute;
  z-index: 3;
  inset: auto 0 0 0;
  display: flex;
  flex-wrap: wrap;
  align-items: center;
  gap: 0.3rem;
  padding: 1.5rem 0.5rem 0.5rem;
  background: linear-gradient(transparent, rgb(0 0 0 / 0.7));
  opacity: 0;
}
.screen:focus-within .controls, .screen.touched .controls, .controls.stays { opacity: 1; }
.screen:has(.controls:not([hidden])) .cover { padding-bottom: 3.5rem; }
@media (prefers-reduced-motion: no-preference) { .controls { transition: opacity 0.15s; } }
.controls button { min-height: 2.5rem; padding: 0.2rem 0.5rem; background: rgb(11 13 17 / 0.72); border-color: #9aa3b2; color: #f1f3f6; }
.controls input { flex: 1 1 2rem; max-width: 7rem; min-width: 2rem; padding: 0; min-height: 2.5rem; border: 0; background: none; accent-color: var(--_accent); }
.controls .way { margin-left: auto; font-size: 0.85rem; }
.controls .way:empty { display: none; }
@media (hover: hover) { .screen:hover .controls { opacity: 1; } }
/* A finger that is to show the controls must press none of them. */
@media (hover: none) { .screen:not(.touched, :focus-within) .controls:not(.stays) { pointer-events: none; } }
:host([clean]) .screen { background: transparent; border-radius: 0; aspect-ratio: auto; width: 100%; height: 100%; }
`

/** What publisher and seat have below the picture. */
export const sending = `
.words { margin-top: 0.5rem; padding: 0.6rem 0.9rem; border-radius: 8px; background: var(--_warn); overflow-wrap: anywhere; }
.badge[data-state='live'] { background: var(--_live); color: var(--_on-live); }
.panel { display: grid; gap: 0.75rem; margin-top: 0.6rem; }
.devices { display: grid; grid-template-columns: repeat(auto-fit, minmax(12rem, 1fr)); gap: 0.75rem; }
.devices label { display: grid; gap: 0.2rem; }
.label { color: var(--_soft); font-size: 0.92rem; }
.meter { height: 6px; border-radius: 3px; background: var(--_sunken); overflow: hidden; }
.meter .level { display: block; height: 100%; background: var(--_accent); transform: scaleX(0); transform-origin: left; }
.bar { display: flex; flex-wrap: wrap; gap: 0.5rem; }
`

/** A guest's seat. */
export const seat = `
.head { display: flex; flex-wrap: wrap; align-items: center; justify-content: space-between; gap: 0.5rem 1.5rem; margin-bottom: 0.75rem; }
.heading { font-size: 1.4rem; line-height: 1.25; overflow-wrap: anywhere; }
.status { display: flex; flex-wrap: wrap; align-items: center; gap: 0.4rem 0.9rem; }
.light {
  padding: 0.25rem 0.9rem;
  border-radius: 999px;
  border: 2px solid var(--_edge);
  font-weight: 700;
}
.light:empty { display: none; }
.status[data-state='on_air'] .light { background: var(--_live); border-color: var(--_live); color: var(--_on-live); text-transform: uppercase; letter-spacing: 0.06em; }
.status[data-state='on_air'].picture .light { box-shadow: 0 0 0 4px color-mix(in srgb, var(--_live) 35%, transparent); }
.meaning { color: var(--_soft); }
.words { margin: 0 0 0.75rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)); gap: 0.75rem; }
.tile { position: relative; margin: 0; border-radius: var(--_radius); }
.tile.speaking { outline: 3px solid var(--_accent); outline-offset: 1px; }
.tile > .badge { pointer-events: none; }
.tile:only-child { max-width: 44rem; }
@media (max-width: 30rem) { .bar button { flex: 1 1 40%; } }
`
