package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"html"
	"math/rand/v2"
	"runtime/pprof"
	"runtime/trace"
	"slices"
	"strconv"
	"strings"
	"sync"
)

const (
	workers  = 4
	products = 120
	receipts = 512 // kept in memory
)

var vocabulary = strings.Fields("anvil brush candle drum easel flute globe harp inkwell jar kettle lamp " +
	"mirror needle oil pan quilt rope saw tray urn vase wheel xylophone yarn zither café ☂")

type product struct {
	name  string
	words []string
	price int64
}

type request struct {
	endpoint string
	query    []string
	cart     []int
}

type payment struct {
	amount int64
	signed chan<- string
}

// shop is a web shop without HTTP: its workers take requests from a channel and search, render, price and sell.
type shop struct {
	catalogue []product
	rounds    int // of priceCart
	requests  chan request
	pending   sync.WaitGroup
	payments  chan payment
	random    *rand.Rand

	stock    sync.Mutex
	sold     map[int]int
	receipts []string
}

// newShop starts the workers of a shop. Its requests are seeded, so that all runs serve the same ones.
func newShop(slow bool) *shop {
	s := &shop{
		rounds:   60_000,
		requests: make(chan request),
		payments: make(chan payment),
		random:   rand.New(rand.NewPCG(1, 2)),
		sold:     map[int]int{},
	}
	if slow {
		s.rounds *= 3
	}
	for range products {
		words := s.words(5)
		s.catalogue = append(s.catalogue, product{strings.Join(words, " "), words, s.random.Int64N(10_000)})
	}
	for range workers {
		go s.work()
	}
	go s.settlePayments()
	return s
}

// serve sends requests until done returns true, and waits for the last of them.
func (s *shop) serve(done func() bool) {
	endpoints := []string{"/search", "/product", "/cart", "/checkout"}
	for i := 0; !done(); i++ {
		s.pending.Add(1)
		s.requests <- request{
			endpoint: endpoints[i%len(endpoints)],
			query:    s.words(4),
			cart:     []int{s.random.IntN(products), s.random.IntN(products), s.random.IntN(products)},
		}
	}
	s.pending.Wait()
}

func (s *shop) words(n int) []string {
	words := make([]string, n)
	for i := range words {
		words[i] = vocabulary[s.random.IntN(len(vocabulary))]
	}
	return words
}

func (s *shop) work() {
	pprof.Do(context.Background(), pprof.Labels("pool", "web"), func(ctx context.Context) {
		for r := range s.requests {
			s.handle(ctx, r)
			s.pending.Done()
		}
	})
}

func (s *shop) handle(ctx context.Context, r request) {
	ctx, task := trace.NewTask(ctx, r.endpoint)
	defer task.End()
	pprof.Do(ctx, pprof.Labels("endpoint", r.endpoint), func(ctx context.Context) {
		switch r.endpoint {
		case "/search":
			s.render(ctx, s.search(ctx, r.query))
		case "/product":
			s.render(ctx, s.catalogue[r.cart[0]:min(r.cart[0]+12, products)])
		case "/cart":
			priceCart(s.catalogue, r.cart, s.rounds)
		case "/checkout":
			s.checkout(ctx, r.cart)
		}
	})
}

func (s *shop) search(ctx context.Context, query []string) []product {
	defer trace.StartRegion(ctx, "search").End()
	scores := map[string]int{}
	for _, p := range s.catalogue {
		scores[p.name] = score(p, query)
	}
	return sortedBy(s.catalogue, func(p product) int { return -scores[p.name] })[:10]
}

// score returns the similarity of the words: the total length of their longest common subsequences.
func score(p product, query []string) int {
	sum := 0
	for _, word := range p.words {
		for _, wanted := range query {
			sum += common(word, wanted)
		}
	}
	return sum
}

//go:noinline
func common(a, b string) int {
	var row [16]int
	for i := range len(a) {
		corner := 0
		for j := range min(len(b), len(row)-1) {
			above := row[j+1]
			if a[i] == b[j] {
				row[j+1] = corner + 1
			} else {
				row[j+1] = larger(above, row[j])
			}
			corner = above
		}
	}
	return row[min(len(b), len(row)-1)]
}

// larger is small enough to be inlined, which produces locations with more than one line.
func larger(a, b int) int {
	if a > b {
		return a
	}
	return b
}

func sortedBy[T any, K cmp.Ordered](items []T, key func(T) K) []T {
	sorted := slices.Clone(items)
	slices.SortStableFunc(sorted, func(a, b T) int { return cmp.Compare(key(a), key(b)) })
	return sorted
}

func (s *shop) render(ctx context.Context, found []product) string {
	defer trace.StartRegion(ctx, "render").End()
	var page strings.Builder
	for range 12 {
		for _, p := range found {
			fmt.Fprintf(&page, "<li>%s: %d.%02d</li>\n", html.EscapeString("<"+p.name+">"), p.price/100, p.price%100)
		}
	}
	return page.String()
}

// priceCart is slower in version 0.0.2: it takes three times as many rounds for the same price.
//
//go:noinline
func priceCart(catalogue []product, cart []int, rounds int) int64 {
	var total int64
	for _, number := range cart {
		price := discount(catalogue[number].price, number)
		sum := uint64(price)
		for range rounds {
			sum = sum*6364136223846793005 + 1442695040888963407
			sum ^= sum >> 29
		}
		total += price + int64(sum&1)
	}
	return total
}

func discount(price int64, number int) int64 {
	if number%7 == 0 {
		return price * 9 / 10
	}
	return price
}

// checkout waits for the payment while it holds a lock, so that on any machine, checkouts contend for the mutex and
// block on the channel.
func (s *shop) checkout(ctx context.Context, cart []int) {
	s.stock.Lock()
	defer s.stock.Unlock()
	trace.Log(ctx, "checkout", strconv.Itoa(len(cart)))
	total := int64(0)
	for _, number := range cart {
		s.sold[number]++
		total += s.catalogue[number].price
	}
	signed := make(chan string)
	s.payments <- payment{total, signed}
	s.receipts = append(s.receipts, <-signed)
	if len(s.receipts) > receipts {
		s.receipts = slices.Clone(s.receipts[receipts/2:])
	}
}

func (s *shop) settlePayments() {
	pprof.Do(context.Background(), pprof.Labels("pool", "payments"), func(context.Context) {
		for p := range s.payments {
			p.signed <- sign(p.amount, 400)
		}
	})
}

// sign hashes its own result recursively, which produces deep stacks.
func sign(amount int64, rounds int) string {
	if rounds == 0 {
		return strconv.FormatInt(amount, 10)
	}
	sum := sha256.Sum256([]byte(sign(amount, rounds-1)))
	return hex.EncodeToString(sum[:])
}
