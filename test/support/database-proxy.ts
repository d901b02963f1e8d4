import { startTcpProxy, type TcpProxy } from './tcp-proxy.js'

export interface DatabaseProxy extends Pick<TcpProxy, 'cut' | 'restore' | 'refused' | 'silence'> {
  /** The same database, on the way through the proxy. */
  url: string
}

/** A way to a database that can be cut without harm to those who share its server. It ends with the test. */
export async function startDatabaseProxy(databaseUrl: string): Promise<DatabaseProxy> {
  const url = new URL(databaseUrl)
  const directory = url.searchParams.get('host')
  url.searchParams.delete('host')
  const { port, cut, restore, refused, silence } = await startTcpProxy(
    directory ? { path: `${directory}/.s.PGSQL.5432` } : { host: url.hostname, port: Number(url.port || 5432) },
  )
  url.hostname = '127.0.0.1'
  url.port = `${port}`
  return { url: url.href, cut, restore, refused, silence }
}
