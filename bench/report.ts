/** One line of the table. */
export interface Row {
  name: string
  value: number
  unit: string
  /** What it is compared with. */
  baseline?: { name: string; value: number }
  ratio?: number
  /** Absent where the line only informs. */
  target?: { text: string; isMet: boolean }
  note?: string
}

const round = (value: number) => {
  const digits = value >= 100 ? 0 : value >= 10 ? 1 : 2
  return value.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits })
}

const HEAD = ['Measure', 'Value', 'Compared with', 'Ratio', 'Target', 'Result', 'Note']

const cells = ({ name, value, unit, baseline, ratio, target, note }: Row): string[] => [
  name,
  `${round(value)} ${unit}`,
  baseline ? `${round(baseline.value)} ${baseline.name}` : '',
  ratio === undefined ? '' : `${ratio.toFixed(2)}x`,
  target?.text ?? '',
  target ? (target.isMet ? 'pass' : 'FAIL') : '',
  note ?? '',
]

/** A Markdown table that can be read as it is. */
export function toTable(rows: readonly Row[]): string {
  const lines = [HEAD, ...rows.map(cells)]
  const widths = HEAD.map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0)))
  const toLine = (line: readonly string[]) =>
    `| ${line.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(' | ')} |`
  const rule = `|${widths.map((width) => '-'.repeat(width + 2)).join('|')}|`
  return [toLine(HEAD), rule, ...rows.map(cells).map(toLine)].join('\n')
}
