// Shows /openapi.json. Texts are only ever set as text, never as HTML.
const main = document.getElementById('main')
const toc = document.getElementById('toc')
const state = document.getElementById('state')

function make(tag, text, parent, className) {
  const node = document.createElement(tag)
  if (text) node.textContent = text
  if (className) node.className = className
  if (parent) parent.append(node)
  return node
}

function table(parent, heads, rows) {
  if (rows.length === 0) return
  const node = make('table', '', parent)
  const head = make('tr', '', make('thead', '', node))
  for (const one of heads) make('th', one, head).scope = 'col'
  const body = make('tbody', '', node)
  for (const row of rows) {
    const line = make('tr', '', body)
    row.forEach((cell, i) => make(i === 0 ? 'code' : 'span', cell, make('td', '', line)))
  }
}

function nameOf(ref) {
  return ref.split('/').pop()
}

// What a value is, in a word or two.
function kind(schema) {
  if (!schema) return 'anything'
  if (schema.$ref) return nameOf(schema.$ref)
  const type = [].concat(schema.type ?? 'anything').join(' or ')
  if (type === 'array') return `list of ${kind(schema.items)}`
  if (schema.enum) return schema.enum.join(' | ')
  if (schema.contentEncoding) return `${type} (${schema.contentEncoding})`
  return schema.format && type === 'string' ? schema.format : type
}

function fields(schema) {
  return Object.entries(schema.properties ?? {}).map(([name, one]) => [
    name + ((schema.required ?? []).includes(name) ? '' : '?'), kind(one), one.description ?? '',
  ])
}

function schemas(content) {
  return Object.entries(content ?? {}).map(([type, one]) => `${kind(one.schema)} (${type})`).join(', ')
}

function show(doc, method, path, operation) {
  const section = make('section', '', main)
  section.id = operation.operationId
  const title = make('h3', '', section)
  make('span', method.toUpperCase(), title, 'method')
  make('code', path, title)
  make('p', operation.summary, section)
  table(section, ['Parameter', 'Type', ''], (operation.parameters ?? []).map((one) => [
    one.name + (one.required ? '' : '?'), `${kind(one.schema)} in ${one.in}`, one.description ?? one.schema?.description ?? '',
  ]))
  if (operation.requestBody) {
    make('h4', 'Body', section)
    make('p', schemas(operation.requestBody.content), section)
  }
  make('h4', 'Responses', section)
  table(section, ['Status', 'Body', ''], Object.entries(operation.responses ?? {}).map(([status, one]) => [
    status, schemas(one.content), one.description ?? '',
  ]))
  const body = operation.requestBody ? ` \\\n  --json '{…}'` : ''
  make('pre', `curl -X ${method.toUpperCase()} -H "Authorization: Bearer $TOKEN"${body} \\\n  ${location.origin}${path}`, section)
}

async function run() {
  const response = await fetch('/openapi.json')
  if (!response.ok) throw new Error(`status ${response.status}`)
  const doc = await response.json()
  state.textContent = doc.info.description
  const tags = new Map()
  for (const [path, methods] of Object.entries(doc.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      const tag = operation.tags?.[0] ?? 'Others'
      tags.set(tag, [...(tags.get(tag) ?? []), [method, path, operation]])
    }
  }
  for (const [tag, all] of tags) {
    make('h2', tag, main)
    make('h2', tag, toc)
    for (const [method, path, operation] of all) {
      show(doc, method, path, operation)
      make('a', operation.summary, toc).href = `#${operation.operationId}`
    }
  }
  make('h2', 'Types', main)
  make('h2', 'Types', toc)
  for (const [name, schema] of Object.entries(doc.components.schemas)) {
    const section = make('section', '', main)
    section.id = `type-${name}`
    make('h3', name, section)
    table(section, ['Field', 'Type', ''], fields(schema))
    make('a', name, toc).href = `#type-${name}`
  }
  document.getElementById(location.hash.slice(1))?.scrollIntoView()
}

run().catch((error) => {
  state.textContent = `The description cannot be read: ${error.message}. Reload the page.`
})
