package demo

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// schema is what the source begins with.
const schema = `
CREATE TABLE customers (
	id integer PRIMARY KEY, name text NOT NULL, city text NOT NULL, orders integer NOT NULL DEFAULT 0, note text);
CREATE TABLE inventory (
	sku text PRIMARY KEY, title text NOT NULL, stock integer NOT NULL, price numeric(8,2) NOT NULL);
CREATE TABLE orders (
	id integer PRIMARY KEY, customer integer NOT NULL REFERENCES customers, status text NOT NULL,
	total numeric(12,2) NOT NULL, placed_at timestamptz NOT NULL DEFAULT now(), shipped_at timestamptz);
CREATE TABLE order_items (
	order_id integer REFERENCES orders, line integer, sku text NOT NULL REFERENCES inventory,
	quantity integer NOT NULL, PRIMARY KEY (order_id, line))`

// What the shop did before the demo: the rows that are copied first.
const (
	pastCustomers = 2000
	pastOrders    = 200_000
)

// past are the rows of that.
var past = fmt.Sprintf(`;
INSERT INTO customers SELECT i, 'Customer ' || i, 'Porto', %[2]d / %[1]d, 'long ago' FROM generate_series(1, %[1]d) i;
INSERT INTO orders SELECT i, 1 + i %% %[1]d, 'shipped', i %% 500 + 0.95, now() - interval '1 year', now() FROM generate_series(1, %[2]d) i;
%[3]s;
INSERT INTO order_items SELECT i, 1, '%[4]s', 1 + i %% 3 FROM generate_series(1, %[2]d) i;
ANALYZE`, pastCustomers, pastOrders, strings.Join((&shop{rand: rand.New(rand.NewPCG(3, 4))}).stockUp(), ";\n"), sku(0))

// tables are all that schema makes.
var tables = []string{"customers", "inventory", "orders", "order_items"}

var (
	firstNames = []string{"Ada", "Bela", "Carlo", "Dora", "Emil", "Fatima", "Goran", "Hanna", "Ivo", "Jin"}
	lastNames  = []string{"Okafor", "Lindqvist", "Moreau", "O''Brien", "Tanaka", "Weiß", "Novák", "Silva"}
	cities     = []string{"Kraków", "Nairobi", "Porto", "Lyon", "Osaka", "Graz", "Cork", "Cusco"}
	goods      = []string{"kettle", "lamp", "rope", "ladder", "teapot", "blanket", "compass", "notebook", "bicycle", "violin"}
)

const transactionTimeout = 10 * time.Second

// shop does business through one connection. It knows what it sold, so that it
// can ship and cancel it; all else is in its tables.
type shop struct {
	conn       *pgconn.PgConn
	rand       *rand.Rand
	customers  int
	orders     int
	open       []int // orders that are neither shipped nor cancelled
	committed  atomic.Int64
	rolledBack atomic.Int64
}

func openShop(ctx context.Context, url string) (*shop, error) {
	conn, err := pgconn.Connect(ctx, url)
	if err != nil {
		return nil, fmt.Errorf("connect the shop: %w", err)
	}
	return &shop{conn: conn, rand: rand.New(rand.NewPCG(1, 2)), customers: pastCustomers, orders: pastOrders}, nil
}

func (s *shop) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	s.conn.Close(ctx) // the server goes next: whether it heard us does not matter
}

// trade makes rate transactions a second until ctx ends, which is no error.
// The transaction under way is completed.
func (s *shop) trade(ctx context.Context, rate int) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	began, done := time.Now(), 0
	for ctx.Err() == nil {
		if due := int(time.Since(began).Seconds() * float64(rate)); done > due {
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
			continue
		}
		if err := s.transact(ctx, s.next(done)); err != nil {
			return err
		}
		done++
	}
	return nil
}

// next composes transaction number n.
func (s *shop) next(n int) []string {
	switch dice := s.rand.IntN(100); {
	case n < 10 || dice < 4:
		return s.welcome()
	case dice < 55 || len(s.open) < 5:
		return s.order()
	case dice < 60:
		s.orders++ // its number is lost with it
		return append(s.sell(s.orders), "ROLLBACK")
	case dice < 90:
		return s.ship()
	case dice < 97:
		return s.cancel()
	}
	return []string{"UPDATE inventory SET stock = stock + 500, price = round(price * 1.01, 2) WHERE stock < 500"}
}

// transact runs the statements as one transaction.
func (s *shop) transact(ctx context.Context, statements []string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), transactionTimeout)
	defer cancel()
	sql := "BEGIN; " + strings.Join(statements, "; ")
	rollback := strings.HasSuffix(sql, "ROLLBACK")
	if !rollback {
		sql += "; COMMIT"
	}
	if _, err := s.conn.Exec(ctx, sql).ReadAll(); err != nil {
		return fmt.Errorf("shop: %s: %w", sql, err)
	}
	if rollback {
		s.rolledBack.Add(1)
	} else {
		s.committed.Add(1)
	}
	return nil
}

func pick(s *shop, from []string) string { return from[s.rand.IntN(len(from))] }

func (s *shop) stockUp() []string {
	var all []string
	for i, title := range goods {
		all = append(all, fmt.Sprintf("INSERT INTO inventory VALUES ('%s', '%s', %d, %d.%02d)",
			sku(i), title, 500+s.rand.IntN(500), 5+s.rand.IntN(90), s.rand.IntN(100)))
	}
	return all
}

func sku(good int) string { return fmt.Sprintf("%.3s-%03d", strings.ToUpper(goods[good]), 100+good) }

func (s *shop) welcome() []string {
	s.customers++
	return []string{fmt.Sprintf("INSERT INTO customers VALUES (%d, '%s %s', '%s')",
		s.customers, pick(s, firstNames), pick(s, lastNames), pick(s, cities))}
}

func (s *shop) order() []string {
	s.orders++
	s.open = append(s.open, s.orders)
	return s.sell(s.orders)
}

// sell fills in order id: the order, its items, the stock and the customer.
func (s *shop) sell(id int) []string {
	customer := 1 + s.rand.IntN(s.customers)
	all := []string{fmt.Sprintf("INSERT INTO orders VALUES (%d, %d, 'new', 0)", id, customer)}
	for line, good := range s.rand.Perm(len(goods))[:1+s.rand.IntN(3)] {
		quantity := 1 + s.rand.IntN(4)
		all = append(all,
			fmt.Sprintf("INSERT INTO order_items VALUES (%d, %d, '%s', %d)", id, line+1, sku(good), quantity),
			fmt.Sprintf("UPDATE inventory SET stock = stock - %d WHERE sku = '%s'", quantity, sku(good)))
	}
	return append(all,
		fmt.Sprintf("UPDATE orders SET total = (SELECT sum(quantity * price) FROM order_items JOIN inventory USING (sku) WHERE order_id = %d) WHERE id = %[1]d", id),
		fmt.Sprintf("UPDATE customers SET orders = orders + 1, note = 'last order %d' WHERE id = %d", id, customer))
}

// takeOpen takes an open order out of the list.
func (s *shop) takeOpen() int {
	i := s.rand.IntN(len(s.open))
	id := s.open[i]
	s.open[i] = s.open[len(s.open)-1]
	s.open = s.open[:len(s.open)-1]
	return id
}

func (s *shop) ship() []string {
	return []string{fmt.Sprintf("UPDATE orders SET status = 'shipped', shipped_at = now() WHERE id = %d", s.takeOpen())}
}

// cancel takes an order back: its items return to the shelf.
func (s *shop) cancel() []string {
	id := s.takeOpen()
	return []string{
		fmt.Sprintf("UPDATE inventory i SET stock = stock + quantity FROM order_items o WHERE o.sku = i.sku AND order_id = %d", id),
		fmt.Sprintf("DELETE FROM order_items WHERE order_id = %d", id),
		fmt.Sprintf("UPDATE customers SET orders = orders - 1, note = NULL WHERE id = (SELECT customer FROM orders WHERE id = %d)", id),
		fmt.Sprintf("DELETE FROM orders WHERE id = %d", id),
	}
}

// execute runs statements in a session of their own.
func execute(ctx context.Context, url, sql string) error {
	conn, err := pgconn.Connect(ctx, url)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, sql).ReadAll(); err != nil {
		return fmt.Errorf("%.40s: %w", strings.TrimSpace(sql), err)
	}
	return nil
}
