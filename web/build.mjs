// Builds the pages: src/*.ts, *.css, *.svg and *.html become dist/, with
// hashed asset names and a gzip file beside everything that shrinks.
//
//   node build.mjs          the pages
//   node build.mjs --test   the unit tests, bundled into .test/ for node --test
import { build } from 'esbuild'
import { createHash } from 'node:crypto'
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { basename, dirname, extname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { constants, gzipSync } from 'node:zlib'

const root = dirname(fileURLToPath(import.meta.url))
const src = join(root, 'src')
const dist = join(root, 'dist')
const pages = ['home', 'publish', 'watch', 'seat', 'missing']

if (process.argv.includes('--test')) {
  await buildTests()
} else {
  await buildPages()
}

async function buildTests() {
  const out = join(root, '.test')
  await rm(out, { recursive: true, force: true })
  const tests = (await readdir(src)).filter((name) => name.endsWith('.test.ts'))
  await build({
    entryPoints: tests.map((name) => join(src, name)),
    outdir: out,
    outExtension: { '.js': '.mjs' },
    bundle: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    logLevel: 'warning',
  })
}

async function buildPages() {
  await clean()
  const scripts = await buildScripts()
  const style = await buildStyle()
  const icon = await hashed('icon.svg', await readFile(join(src, 'icon.svg')))
  for (const page of pages) {
    const html = await readFile(join(src, `${page}.html`), 'utf8')
    await emit(`${page}.html`, fill(html, { style, icon, ...scripts[page] }))
  }
}

// clean empties dist but keeps the placeholder that lets the Go package
// compile on a fresh checkout.
async function clean() {
  await mkdir(dist, { recursive: true })
  for (const name of await readdir(dist)) {
    if (name !== '.gitkeep') await rm(join(dist, name), { recursive: true })
  }
}

// buildScripts answers, for each page, its script and what that imports.
async function buildScripts() {
  const result = await build({
    entryPoints: pages.filter((page) => page !== 'missing').map((page) => join(src, `${page}.ts`)),
    outdir: join(dist, 'assets'),
    entryNames: '[name]-[hash]',
    chunkNames: 'shared-[hash]',
    bundle: true,
    splitting: true,
    format: 'esm',
    target: ['chrome110', 'firefox115', 'safari16.4'],
    minify: true,
    legalComments: 'eof',
    metafile: true,
    write: false,
    logLevel: 'warning',
    absWorkingDir: root,
  })
  for (const file of result.outputFiles) {
    await emit(join('assets', basename(file.path)), file.contents)
  }
  const scripts = {}
  for (const [path, output] of Object.entries(result.metafile.outputs)) {
    if (!output.entryPoint) continue
    const page = basename(output.entryPoint, '.ts')
    if (!pages.includes(page)) continue // a chunk of its own, such as hls.js
    scripts[page] = {
      script: `/assets/${basename(path)}`,
      preloads: output.imports
        .map((one) => `<link rel="modulepreload" href="/assets/${basename(one.path)}">`)
        .join('\n'),
    }
  }
  return scripts
}

async function buildStyle() {
  const result = await build({
    entryPoints: [join(src, 'page.css')],
    bundle: true,
    minify: true,
    write: false,
    target: ['chrome110', 'firefox115', 'safari16.4'],
  })
  return hashed('page.css', result.outputFiles[0].contents)
}

async function hashed(name, contents) {
  const hash = createHash('sha256').update(contents).digest('hex').slice(0, 8)
  const file = `${basename(name, extname(name))}-${hash}${extname(name)}`
  await emit(join('assets', file), contents)
  return `/assets/${file}`
}

// fill replaces {{name}} and fails on a name that nobody gave.
function fill(html, values) {
  return html.replace(/\{\{(\w+)\}\}/g, (_, name) => {
    if (values[name] === undefined) throw new Error(`page template: nothing to put for {{${name}}}`)
    return values[name]
  })
}

async function emit(path, contents) {
  const file = join(dist, path)
  await mkdir(dirname(file), { recursive: true })
  await writeFile(file, contents)
  const small = gzipSync(contents, { level: constants.Z_BEST_COMPRESSION })
  if (small.length < contents.length) await writeFile(`${file}.gz`, small)
}
