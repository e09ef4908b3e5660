// A node-postgres client for the tests: one job as one JSON document on standard input, what each check gave as JSON
// on standard output. The job is tests.support.node_postgres.Job; what is to be expected stands in the tests.
import { readFileSync } from 'node:fs'
import pg from 'pg'

const job = JSON.parse(readFileSync(0, 'utf8'))
const settings = {
  host: 'localhost',
  port: job.port,
  user: job.user,
  password: job.password,
  database: job.database,
  application_name: 'node',
  ssl: { ca: readFileSync(job.ca, 'utf8'), rejectUnauthorized: true },
}

const described = (error) => ({
  severity: error.severity, code: error.code, message: error.message, detail: error.detail, hint: error.hint,
  position: error.position, table: error.table, constraint: error.constraint,
})

async function withClient (work, more = {}) {
  const client = new pg.Client({ ...settings, ...more })
  await client.connect()
  try {
    return await work(client)
  } finally {
    await client.end()
  }
}

const failed = async (promise) => promise.then(() => 'done', described)

const checks = {
  // Values of many types as parameters of an unnamed statement, and back.
  types: () => withClient(async (client) => {
    const columns = 'label, amount, reference, about, at, many, raw, flag, ratio'
    const values = ['Ünï', '-12345678901234567890.123456789', '12345678-1234-5678-1234-567812345678',
      { nested: [1, null, 'ü'] }, new Date(Date.UTC(2026, 1, 28, 23, 59, 59, 999)), ['a', null, '{,}'],
      Buffer.from([0, 1, 255]), true, -1.5e300]
    const holders = values.map((_, place) => `$${place + 1}`).join(', ')
    const text = `INSERT INTO ${job.table} (${columns}) VALUES (${holders}) RETURNING ${columns}`
    const { rows } = await client.query({ text, values, rowMode: 'array' })
    return rows[0].map((value) => (Buffer.isBuffer(value) ? value.toString('hex') : value))
  }),

  // Results in binary: pg 8.23 itself misreads larger numbers then, at a server as through the gateway.
  binary: () => withClient(async (client) => {
    const { rows } = await client.query({
      text: 'SELECT $1::int4 AS n, $2::text AS label, $3::bool AS flag, $4::bytea AS raw',
      values: [7, 'ü', true, Buffer.from('x')],
      binary: true,
    })
    return { ...rows[0], raw: rows[0].raw.toString() }
  }),

  // A statement with a name is prepared once.
  named: () => withClient(async (client) => {
    let total = 0
    for (let turn = 0; turn < 5; turn++) {
      const { rows } = await client.query({ name: 'add', text: 'SELECT $1::int + 40 AS sum', values: [turn] })
      total += rows[0].sum
    }
    const { rows } = await client.query("SELECT count(*)::int AS kept FROM pg_prepared_statements WHERE name = 'add'")
    return { total, kept: rows[0].kept }
  }),

  // Several statements in one simple query.
  several: () => withClient(async (client) => {
    const results = await client.query('SELECT 1 AS n; SELECT 2 AS n UNION SELECT 3 ORDER BY 1; SET statement_timeout = 0')
    return results.map((result) => [result.command, result.rows.map((row) => row.n)])
  }),

  // More work than sessions.
  pooled: async () => {
    const pool = new pg.Pool({ ...settings, max: 4 })
    const work = Array.from({ length: 60 }, (_, n) => pool.query('SELECT $1::int * 2 AS n', [n]))
    const sums = (await Promise.all(work)).map((result) => result.rows[0].n)
    const most = pool.totalCount
    await pool.end()
    return { sums, most }
  },

  transaction: () => withClient(async (client) => {
    const insert = `INSERT INTO ${job.table} (label) VALUES ($1)`
    await client.query('BEGIN')
    await client.query(insert, ['lost'])
    const refused = await failed(client.query(`DROP TABLE ${job.table}`))
    const behind = await failed(client.query('SELECT 1'))
    await client.query('ROLLBACK')
    await client.query('BEGIN ISOLATION LEVEL SERIALIZABLE')
    await client.query(insert, ['kept'])
    await client.query('COMMIT')
    const { rows } = await client.query(`SELECT label FROM ${job.table} WHERE label IN ('lost', 'kept')`)
    return { refused, behind: behind.code, left: rows.map((row) => row.label) }
  }),

  // A cancel request of the driver's own, sent again until the statement has ended.
  cancelled: () => withClient(async (client) => {
    const { rows } = await client.query('SELECT 1 AS one')
    const query = new pg.Query('SELECT pg_sleep(100)')
    const ended = new Promise((resolve) => query.on('error', resolve).on('end', () => resolve({})))
    client.query(query)
    const press = () => {
      const other = new pg.Client(settings)
      // Without the driver's listeners: it is to be a cancel request, and no log-in.
      other.connection.on('error', () => {})
      other.cancel(client, query)
    }
    const pressing = setInterval(press, 500)
    const error = await ended
    clearInterval(pressing)
    const after = await client.query('SELECT 41 + 1 AS sum')
    return { one: rows[0].one, error: described(error), then: after.rows[0].sum }
  }),

  timedOut: () => withClient(async (client) => ({
    error: (await failed(client.query('SELECT pg_sleep(100)'))).code,
    then: (await client.query('SELECT 41 + 1 AS sum')).rows[0].sum,
  }), { statement_timeout: 2000 }),

  heard: () => withClient((listener) => withClient(async (speaker) => {
    const heard = new Promise((resolve) => listener.on('notification', resolve))
    await listener.query(`LISTEN ${job.table}`)
    await speaker.query(`NOTIFY ${job.table}, 'eight'`)
    const { channel, payload } = await heard
    return [channel, payload]
  })),

  notices: () => withClient(async (client) => {
    const codes = []
    client.on('notice', (notice) => codes.push(notice.code))
    await client.query('COMMIT')
    await client.query('DROP TABLE IF EXISTS pg_temp.nothing_here')
    return codes
  }),

  refused: () => withClient(async (client) => ({
    denied: await failed(client.query(`ALTER TABLE ${job.table} ADD more int`)),
    prepared: await failed(client.query({ name: 'grow', text: `ALTER TABLE ${job.table} ADD more int` })),
    unread: await failed(client.query('SELECT 1 FRO x y')),
    unknown: await failed(client.query('SELECT no_such FROM customers WHERE id = $1', [1])),
    duplicate: await failed(client.query(`INSERT INTO ${job.table} (id, label) OVERRIDING SYSTEM VALUE SELECT max(id), 'x' FROM ${job.table}`)),
    then: (await client.query('SELECT 41 + 1 AS sum')).rows[0].sum,
  })),

  wrongToken: async () => {
    const client = new pg.Client({ ...settings, password: `vst_${'w'.repeat(43)}` })
    client.on('error', () => {})
    return failed(client.connect())
  },

  plain: async () => {
    const client = new pg.Client({ ...settings, ssl: false })
    client.on('error', () => {})
    return failed(client.connect())
  },
}

const found = {}
for (const [name, check] of Object.entries(checks)) {
  found[name] = await check().catch((error) => ({ error: described(error) }))
}
process.stdout.write(JSON.stringify(found) + '\n')
