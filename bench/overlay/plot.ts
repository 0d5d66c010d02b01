// A small plot as SVG: lines over two logarithmic axes, readable on light and on dark pages. Pure.

export interface Series {
  name: string
  /** x and y, both above zero. */
  points: [number, number][]
}

export interface Plot {
  title: string
  x: string
  y: string
  series: Series[]
}

const WIDTH = 720
const HEIGHT = 420
const BOX = { left: 64, right: 530, top: 40, bottom: 370 }
// Told apart with any kind of colour vision (Okabe and Ito), and dark and light enough for both backgrounds.
const COLOURS = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#b8860b', '#56b4e9', '#888888']

export function svg({ title, x, y, series }: Plot): string {
  const xs = series.flatMap(({ points }) => points.map(([value]) => value))
  const ys = series.flatMap(({ points }) => points.map(([, value]) => value))
  const across = scale(Math.min(...xs), Math.max(...xs), BOX.left, BOX.right)
  const up = scale(10 ** Math.floor(Math.log10(Math.min(...ys))), 10 ** Math.ceil(Math.log10(Math.max(...ys))), BOX.bottom, BOX.top)
  const labels = apart(series.map(({ points }) => up(points.at(-1)![1])))
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${escaped(title)}">`,
    `<style>svg{font:13px sans-serif;color:#222;background:#fff}@media(prefers-color-scheme:dark){svg{color:#ddd;background:#111}}text{fill:currentColor}.axis{stroke:currentColor}.grid{stroke:currentColor;opacity:.2}polyline{fill:none;stroke-width:2}</style>`,
    text(WIDTH / 2, 22, title, 'middle', 'font-weight="bold"'),
    ...decades(up.from, up.to).map((value) => `${line(BOX.left, up(value), BOX.right, up(value), 'grid')}${text(BOX.left - 8, up(value) + 4, number(value), 'end')}`),
    ...[...new Set(xs)].map((value) => `${line(across(value), BOX.top, across(value), BOX.bottom, 'grid')}${text(across(value), BOX.bottom + 18, number(value), 'middle')}`),
    line(BOX.left, BOX.top, BOX.left, BOX.bottom, 'axis'),
    line(BOX.left, BOX.bottom, BOX.right, BOX.bottom, 'axis'),
    text((BOX.left + BOX.right) / 2, HEIGHT - 12, x, 'middle'),
    text(0, 0, y, 'middle', `transform="translate(16 ${(BOX.top + BOX.bottom) / 2}) rotate(-90)"`),
    ...series.map(({ name, points }, i) => curve(name, points.map(([a, b]) => [across(a), up(b)]), labels[i]!, COLOURS[i % COLOURS.length]!)),
    '</svg>\n',
  ].join('\n')
}

interface Scale {
  (value: number): number
  from: number
  to: number
}

function scale(from: number, to: number, start: number, end: number): Scale {
  const span = Math.log10(to / from) || 1
  return Object.assign((value: number) => Math.round((start + (Math.log10(value / from) / span) * (end - start)) * 10) / 10, { from, to })
}

function decades(from: number, to: number): number[] {
  const [first, last] = [from, to].map((value) => Math.round(Math.log10(value))) as [number, number]
  return Array.from({ length: last - first + 1 }, (_, i) => 10 ** (first + i))
}

const LINE = 15 // height of a label

/** Where labels go so that none covers another, each as near to its place as the ones below it leave room. */
function apart(places: number[]): number[] {
  const order = places.map((place, i) => ({ place, i })).sort((a, b) => b.place - a.place)
  let below = Infinity
  const moved: number[] = []
  for (const { place, i } of order) below = moved[i] = Math.min(place, below - LINE)
  return moved
}

function curve(name: string, points: [number, number][], label: number, colour: string): string {
  const [endX, endY] = points.at(-1)!
  return [
    `<polyline stroke="${colour}" points="${points.map((point) => point.join(',')).join(' ')}"/>`,
    ...points.map(([cx, cy]) => `<circle cx="${cx}" cy="${cy}" r="3" fill="${colour}"/>`),
    `<line x1="${endX + 5}" y1="${endY}" x2="${endX + 18}" y2="${label}" stroke="${colour}"/>`,
    text(endX + 22, label + 4, name, 'start'),
  ].join('')
}

const line = (x1: number, y1: number, x2: number, y2: number, kind: string): string => `<line class="${kind}" x1="${x1}" y1="${y1}" x2="${x2}" y2="${y2}"/>`
const text = (x: number, y: number, words: string, anchor: string, more = ''): string => `<text x="${x}" y="${y}" text-anchor="${anchor}"${more && ` ${more}`}>${escaped(words)}</text>`
const number = (value: number): string => String(value).replaceAll(/\B(?=(\d{3})+$)/g, ' ')
const escaped = (words: string): string => words.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;')
