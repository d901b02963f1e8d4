/** The value of a metric with exactly these labels, e.g. `cache_reads_total{result="hit"}`; 0 when there is none. */
export async function metric(url: string, name: string): Promise<number> {
  const text = await (await fetch(`${url}/metrics`)).text()
  const line = text.split('\n').find((each) => each.startsWith(`portcullis_${name} `))
  return Number(line?.split(' ').at(-1) ?? 0)
}
