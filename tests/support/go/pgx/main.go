// A pgx client for the tests: reads one job as JSON on standard input, does every check, and writes what each gave as
// JSON. The job is tests.support.pgx.Job; what is to be expected stands in the tests.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
)

type job struct {
	Conninfo string `json:"conninfo"`
	Password string `json:"password"`
	Table    string `json:"table"`
}

type answer map[string]any

var modes = map[string]pgx.QueryExecMode{
	"cache_statement": pgx.QueryExecModeCacheStatement,
	"cache_describe":  pgx.QueryExecModeCacheDescribe,
	"describe_exec":   pgx.QueryExecModeDescribeExec,
	"exec":            pgx.QueryExecModeExec,
	"simple_protocol": pgx.QueryExecModeSimpleProtocol,
}

func main() {
	var work job
	if err := json.NewDecoder(os.Stdin).Decode(&work); err != nil {
		fail(err)
	}
	ctx, stop := context.WithTimeout(context.Background(), 4*time.Minute)
	defer stop()
	config, err := pgxpool.ParseConfig(work.Conninfo)
	if err != nil {
		fail(err)
	}
	config.ConnConfig.Password = work.Password
	config.MaxConns = 4
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		fail(err)
	}
	defer pool.Close()
	checks := map[string]func(context.Context, *pgxpool.Pool, job) (any, error){
		"types": types, "cached": cached, "batch": batch, "many": many, "copied": copied, "cancelled": cancelled,
		"abandoned": abandoned, "heard": heard, "pooled": pooled, "refused": refused, "nested": nested, "notices": notices,
	}
	given := answer{}
	for name, check := range checks {
		value, err := check(ctx, pool, work)
		if err != nil {
			value = answer{"error": described(err)}
		}
		given[name] = value
	}
	if err := json.NewEncoder(os.Stdout).Encode(given); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// described gives the fields of the server's error, or the error's own words.
func described(err error) any {
	var wrong *pgconn.PgError
	if !errors.As(err, &wrong) {
		return err.Error()
	}
	return answer{
		"severity": wrong.Severity, "code": wrong.Code, "message": wrong.Message, "detail": wrong.Detail,
		"hint": wrong.Hint, "position": wrong.Position,
	}
}

const there = `INSERT INTO %s (label, amount, reference, about, at, many, raw, day, flag, ratio)
	VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`

// types carries a row there and back in every way that pgx has of asking; gives what came back, as the server writes it.
func types(ctx context.Context, pool *pgxpool.Pool, work job) (any, error) {
	given := answer{}
	for name, mode := range modes {
		var amount pgtype.Numeric
		if err := amount.Scan("-12345678901234567890.123456789"); err != nil {
			return nil, err
		}
		reference := [16]byte{0x12, 0x34, 0x56, 0x78, 0x12, 0x34, 0x56, 0x78, 0x12, 0x34, 0x56, 0x78, 0x12, 0x34, 0x56, 0x78}
		// Two of the ways know no types beforehand, and take text for what is not of Go's own types.
		about := `{"nested": [1, null, "ü"]}`
		at := time.Date(2026, 2, 28, 23, 59, 59, 999999000, time.UTC)
		row := []any{
			mode, name, amount, pgtype.UUID{Bytes: reference, Valid: true}, about, at, []string{"a", "{,}"},
			[]byte{0, 1, 255}, time.Date(1969, 7, 20, 0, 0, 0, 0, time.UTC), true, -1.5e300,
		}
		if _, err := pool.Exec(ctx, fmt.Sprintf(there, work.Table), row...); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		var backAmount pgtype.Numeric
		var backReference pgtype.UUID
		var backAbout map[string]any
		var backAt time.Time
		var many []string
		var ratio float64
		query := fmt.Sprintf("SELECT amount, reference, about, at, many, ratio FROM %s WHERE label = $1", work.Table)
		err := pool.QueryRow(ctx, query, mode, name).Scan(&backAmount, &backReference, &backAbout, &backAt, &many, &ratio)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		text, err := backAmount.Value()
		if err != nil {
			return nil, err
		}
		given[name] = []any{text, backReference.String(), backAbout, backAt.UTC(), many, ratio}
	}
	return given, nil
}

// cached runs one text many times in one session; gives how many statements the server keeps for it.
func cached(ctx context.Context, pool *pgxpool.Pool, work job) (any, error) {
	session, err := pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer session.Release()
	var sum, total int
	for turn := range 5 {
		if err := session.QueryRow(ctx, "SELECT $1::int + 40", turn).Scan(&sum); err != nil {
			return nil, err
		}
		total += sum
	}
	var kept int
	question := "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE 'SELECT $1::int + 40'"
	err = session.QueryRow(ctx, question, pgx.QueryExecModeExec).Scan(&kept)
	return answer{"total": total, "kept": kept}, err
}

// batch sends three statements at once, of which the second is refused; gives the outcomes and what has remained.
func batch(ctx context.Context, pool *pgxpool.Pool, work job) (any, error) {
	sent := &pgx.Batch{}
	sent.Queue(fmt.Sprintf("INSERT INTO %s (label) VALUES ('of the batch')", work.Table))
	sent.Queue(fmt.Sprintf("ALTER TABLE %s ADD more int", work.Table))
	sent.Queue("SELECT 1")
	results := pool.SendBatch(ctx, sent)
	var outcomes []any
	for range 3 {
		_, err := results.Exec()
		if err != nil {
			outcomes = append(outcomes, described(err))
		} else {
			outcomes = append(outcomes, "done")
		}
	}
	_ = results.Close()
	var left int
	question := fmt.Sprintf("SELECT count(*) FROM %s WHERE label = 'of the batch'", work.Table)
	err := pool.QueryRow(ctx, question).Scan(&left)
	return answer{"outcomes": outcomes, "left": left}, err
}

// many pipelines five hundred statements; gives the sum of their answers.
func many(ctx context.Context, pool *pgxpool.Pool, work job) (any, error) {
	sent := &pgx.Batch{}
	total := 0
	for number := range 500 {
		sent.Queue("SELECT $1::int", number).QueryRow(func(row pgx.Row) error {
			var value int
			err := row.Scan(&value)
			total += value
			return err
		})
	}
	err := pool.SendBatch(ctx, sent).Close()
	return total, err
}

// copied copies rows by the binary COPY; gives how many there are then.
func copied(ctx context.Context, pool *pgxpool.Pool, work job) (any, error) {
	var rows [][]any
	for number := range 2_000 {
		rows = append(rows, []any{fmt.Sprintf("copied %d", number), time.Unix(int64(number), 0), number%2 == 0})
	}
	columns := []string{"label", "at", "flag"}
	count, err := pool.CopyFrom(ctx, pgx.Identifier{work.Table}, columns, pgx.CopyFromRows(rows))
	if err != nil {
		return nil, err
	}
	var found int
	question := fmt.Sprintf("SELECT count(*) FROM %s WHERE label LIKE 'copied %%'", work.Table)
	err = pool.QueryRow(ctx, question).Scan(&found)
	return []any{count, found}, err
}

// cancelled lets a context end a statement that runs, by a cancel request; gives the error, and whether the session goes on.
func cancelled(ctx context.Context, pool *pgxpool.Pool, work job) (any, error) {
	config := pool.Config().ConnConfig
	config.BuildContextWatcherHandler = func(session *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: session, DeadlineDelay: 2 * time.Minute}
	}
	session, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	defer session.Close(ctx)
	ended, end := context.WithCancel(ctx)
	defer end()
	go onceRunning(ctx, pool, "SELECT pg_sleep(101)", end)
	_, wrong := session.Exec(ended, "SELECT pg_sleep(101)")
	var sum int
	err = session.QueryRow(ctx, "SELECT 41 + 1").Scan(&sum)
	return answer{"error": described(wrong), "then": sum}, err
}

// abandoned lets a context end a statement as pgx does by default, by giving the session up; gives whether the pool goes on.
func abandoned(ctx context.Context, pool *pgxpool.Pool, work job) (any, error) {
	ended, end := context.WithCancel(ctx)
	defer end()
	go onceRunning(ctx, pool, "SELECT pg_sleep(102)", end)
	_, wrong := pool.Exec(ended, "SELECT pg_sleep(102)")
	var sum int
	err := pool.QueryRow(ctx, "SELECT 41 + 1").Scan(&sum)
	return answer{"is_cancelled": errors.Is(wrong, context.Canceled), "then": sum}, err
}

// onceRunning calls `end` as soon as the server is seen to carry out the statement.
func onceRunning(ctx context.Context, pool *pgxpool.Pool, text string, end func()) {
	question := fmt.Sprintf("SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query = '%s'", text)
	for running := 0; running == 0; time.Sleep(100 * time.Millisecond) {
		if err := pool.QueryRow(ctx, question).Scan(&running); err != nil {
			return
		}
	}
	end()
}

// heard listens in one session to what another says.
func heard(ctx context.Context, pool *pgxpool.Pool, work job) (any, error) {
	session, err := pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer session.Release()
	if _, err := session.Exec(ctx, "LISTEN "+work.Table); err != nil {
		return nil, err
	}
	if _, err := pool.Exec(ctx, fmt.Sprintf("NOTIFY %s, 'seven'", work.Table)); err != nil {
		return nil, err
	}
	said, err := session.Conn().WaitForNotification(ctx)
	if err != nil {
		return nil, err
	}
	return []string{said.Channel, said.Payload}, nil
}

// pooled works in more goroutines than there are sessions.
func pooled(ctx context.Context, pool *pgxpool.Pool, work job) (any, error) {
	var group sync.WaitGroup
	sums := make([]int, 12)
	failures := make(chan error, len(sums))
	for number := range sums {
		group.Add(1)
		go func() {
			defer group.Done()
			for turn := range 20 {
				var sum int
				if err := pool.QueryRow(ctx, "SELECT $1::int * $2::int", number, turn).Scan(&sum); err != nil {
					failures <- err
					return
				}
				sums[number] += sum
			}
		}()
	}
	group.Wait()
	close(failures)
	for err := range failures {
		return nil, err
	}
	return answer{"sums": sums, "most": pool.Stat().TotalConns()}, nil
}

// refused gives the errors of what the gateway refuses, and of what the server does.
func refused(ctx context.Context, pool *pgxpool.Pool, work job) (any, error) {
	_, dropped := pool.Exec(ctx, "DROP TABLE "+work.Table)
	_, unknown := pool.Exec(ctx, "SELECT no_such_column FROM "+work.Table)
	_, unread := pool.Exec(ctx, "SELECT 1 FRO customers x")
	return answer{"dropped": described(dropped), "unknown": described(unknown), "unread": described(unread)}, nil
}

// nested rolls a savepoint back inside a transaction; gives what has remained.
func nested(ctx context.Context, pool *pgxpool.Pool, work job) (any, error) {
	insert := fmt.Sprintf("INSERT INTO %s (label) VALUES ($1)", work.Table)
	err := pgx.BeginTxFunc(ctx, pool, pgx.TxOptions{IsoLevel: pgx.Serializable}, func(outer pgx.Tx) error {
		if _, err := outer.Exec(ctx, insert, "nested kept"); err != nil {
			return err
		}
		inner, err := outer.Begin(ctx)
		if err != nil {
			return err
		}
		if _, err := inner.Exec(ctx, insert, "nested lost"); err != nil {
			return err
		}
		if _, err := inner.Exec(ctx, "DROP TABLE "+work.Table); err == nil {
			return errors.New("the table could be dropped")
		}
		return inner.Rollback(ctx)
	})
	if err != nil {
		return nil, err
	}
	rows, err := pool.Query(ctx, fmt.Sprintf("SELECT label FROM %s WHERE label LIKE 'nested %%'", work.Table))
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// notices gives what the server remarks.
func notices(ctx context.Context, pool *pgxpool.Pool, work job) (any, error) {
	config := pool.Config().ConnConfig
	var codes []string
	config.OnNotice = func(_ *pgconn.PgConn, notice *pgconn.Notice) { codes = append(codes, notice.Code) }
	session, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	defer session.Close(ctx)
	_, err = session.Exec(ctx, "COMMIT")
	return codes, err
}
