// Builds the pages: src/*.ts, *.css, *.svg and *.html become dist/, with
// hashed asset names and a gzip file beside everything that shrinks.
//
// Of src/embed.ts it makes /embed.js, one module for pages elsewhere, and fills
// the npm package in embed/ with it and its types.
//
//   node build.mjs          the pages
//   node build.mjs --test   the unit tests, bundled into .test/ for node --test
import { build } from 'esbuild'
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, dirname, extname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { constants, gzipSync } from 'node:zlib'

const root = dirname(fileURLToPath(import.meta.url))
const src = join(root, 'src')
const dist = join(root, 'dist')
const packed = join(root, 'embed')
const pages = ['home', 'publish', 'watch', 'seat', 'guest', 'control', 'frame', 'missing']
const target = ['chrome103', 'firefox115', 'safari16.4'] // the first is in OBS 30

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
  const { hls, ...scripts } = await buildScripts()
  await buildEmbed(hls.script)
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
    entryPoints: ['hls', ...pages.filter((page) => page !== 'missing')].map((entry) => join(src, `${entry}.ts`)),
    outdir: join(dist, 'assets'),
    entryNames: '[name]-[hash]',
    chunkNames: 'shared-[hash]',
    bundle: true,
    splitting: true,
    format: 'esm',
    target,
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
    if (page !== 'hls' && !pages.includes(page)) continue // a chunk that is imported when it is needed
    scripts[page] = {
      script: `/assets/${basename(path)}`,
      preloads: output.imports
        .map((one) => `<link rel="modulepreload" href="/assets/${basename(one.path)}">`)
        .join('\n'),
    }
  }
  return scripts
}

// buildEmbed makes the module for pages elsewhere. Its address does not change, so
// hls.js, which is big, stays a file that browsers keep for ever.
async function buildEmbed(hls) {
  const module = async (how) => {
    const entryPoints = [join(src, 'embed.ts')]
    const result = await build({ entryPoints, bundle: true, format: 'esm', target, write: false, logLevel: 'warning', ...how })
    return result.outputFiles[0]
  }
  await emit('embed.js', (await module({ minify: true })).contents)
  await emit('embed-hls.js', `export { default } from '.${hls}'\n`)
  // Bundlers read in comments what is not theirs to load; those stay only where white space does.
  const { contents, text } = await module({ minifySyntax: true, minifyIdentifiers: true })
  if (!/import\(\s*\/\* webpackIgnore: true \*\/\s*\/\* @vite-ignore \*\//.test(text)) throw new Error('embed.js: bundlers would look for hls.js')
  await writeFile(join(packed, 'embed.js'), contents)
  await buildTypes()
}

// buildTypes writes the declarations that embed.d.ts names, and no others.
async function buildTypes() {
  const all = await mkdtemp(join(tmpdir(), 'whipcast-types-'))
  const types = join(packed, 'types')
  await rm(types, { recursive: true, force: true })
  try {
    await promisify(execFile)(process.execPath, [
      join(root, 'node_modules', 'typescript', 'bin', 'tsc'),
      ...['-p', root, '--noEmit', 'false', '--declaration', '--emitDeclarationOnly', '--rootDir', src, '--outDir', all],
    ])
    const known = new Set()
    const copy = async (path) => {
      if (known.has(path)) return
      known.add(path)
      const text = await readFile(join(all, path), 'utf8')
      await mkdir(dirname(join(types, path)), { recursive: true })
      // Programs that resolve as Node.js does want the ending.
      await writeFile(join(types, path), text.replace(/from '(\.[^']+)'/g, "from '$1.js'"))
      for (const [, named] of text.matchAll(/from '(\.[^']+)'/g)) await copy(join(dirname(path), `${named}.d.ts`))
      for (const [, named] of text.matchAll(/from '([^.][^']*)'/g)) throw new Error(`types: ${path} needs ${named}`)
    }
    await copy('embed.d.ts')
  } finally {
    await rm(all, { recursive: true })
  }
}

async function buildStyle() {
  const result = await build({
    entryPoints: [join(src, 'page.css')],
    bundle: true,
    minify: true,
    write: false,
    target,
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
