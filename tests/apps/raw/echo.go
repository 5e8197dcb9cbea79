// What Go's net package does with sockets: every part is a function of its own, prints what it saw, and must print the same on every run.
package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"time"
)

func must(err error) {
	if err != nil {
		_, file, line, _ := runtime.Caller(1)
		fmt.Printf("%s:%d: %v\n", file, line, err)
		os.Exit(1)
	}
}

// What connection n says as its message i.
func message(n, i, size int) []byte {
	source := rand.New(rand.NewSource(int64(n)<<20 | int64(i)))
	bytes := make([]byte, size)
	source.Read(bytes)
	return bytes
}

func echo(c net.Conn) {
	defer c.Close()
	io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c})
}

// Accepts until the listener is closed.
func serve(l net.Listener, handle func(net.Conn)) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go handle(c)
	}
}

func dial(address string) net.Conn {
	c, err := net.Dial("tcp", address)
	must(err)
	return c
}

// Round trips with contents checked.
func roundTrips(address string, n, count, size int) bool {
	c := dial(address)
	defer c.Close()
	back := make([]byte, size)
	for i := 0; i < count; i++ {
		sent := message(n, i, size)
		if _, err := c.Write(sent); err != nil {
			fmt.Println("write:", err)
			return false
		}
		if _, err := io.ReadFull(c, back); err != nil {
			fmt.Println("read:", err)
			return false
		}
		if !bytes.Equal(sent, back) {
			fmt.Println("connection", n, "message", i, "came back otherwise")
			return false
		}
	}
	return true
}

func many(address string, connections, count, size int) {
	var wait sync.WaitGroup
	good := make([]bool, connections)
	for n := range good {
		wait.Add(1)
		go func(n int) {
			defer wait.Done()
			good[n] = roundTrips(address, n, count, size)
		}(n)
	}
	wait.Wait()
	all := true
	for _, g := range good {
		all = all && g
	}
	fmt.Println("many", connections, count, size, all)
}

// Bulk in both directions at once, ended by a half-close, told by checksums.
func bulk(address string, size int) {
	c := dial(address).(*net.TCPConn)
	defer c.Close()
	sent, back := sha256.New(), sha256.New()
	go func() {
		for i := 0; i < size; i += 64 << 10 {
			part := message(7, i, 64<<10)
			sent.Write(part)
			if _, err := c.Write(part); err != nil {
				fmt.Println("bulk:", err)
			}
		}
		c.CloseWrite()
	}()
	got, err := io.Copy(back, c)
	must(err)
	fmt.Println("bulk", got, bytes.Equal(sent.Sum(nil), back.Sum(nil)))
}

func deadlines(address string) {
	c := dial(address)
	defer c.Close()
	room := make([]byte, 10)
	for i := 0; i < 3; i++ {
		for k := 0; k < 20; k++ {
			c.Write(room)
			io.ReadFull(c, room)
		}
		c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		n, err := c.Read(room)
		fmt.Println("deadline", n, errors.Is(err, os.ErrDeadlineExceeded))
		c.SetReadDeadline(time.Time{})
	}
	go func() {
		time.Sleep(20 * time.Millisecond)
		c.Close()
	}()
	_, err := c.Read(room)
	fmt.Println("closed while read:", errors.Is(err, net.ErrClosed))
}

// A child gets a stream as its standard input and output, while unread bytes are there, and other children run beside it.
func children(address string) {
	c := dial(address).(*net.TCPConn)
	room := make([]byte, 6)
	for i := 0; i < 50; i++ {
		c.Write([]byte("warm\n\n"))
		io.ReadFull(c, room)
	}
	c.Write([]byte("hello from a child\n"))
	time.Sleep(20 * time.Millisecond)
	file, err := c.File()
	must(err)
	child := exec.Command("head", "-n", "1")
	child.Stdin = file
	out, err := child.Output()
	file.Close()
	c.Close()
	fmt.Printf("child read %q %v\n", out, err)
	var wait sync.WaitGroup
	outs := make([]string, 8)
	for i := range outs {
		wait.Add(1)
		go func(i int) {
			defer wait.Done()
			out, err := exec.Command("echo", fmt.Sprint("child ", i)).Output()
			outs[i] = fmt.Sprint(string(out), err)
		}(i)
	}
	wait.Wait()
	fmt.Printf("%q\n", outs)
	_, err = exec.Command("/nowhere/at/all").Output()
	fmt.Println(err)
}

func signals() {
	c := make(chan os.Signal, 100)
	signal.Notify(c, syscall.SIGUSR1, syscall.SIGSYS)
	for i := 0; i < 20; i++ {
		syscall.Kill(os.Getpid(), syscall.SIGUSR1)
		<-c
	}
	syscall.Kill(os.Getpid(), syscall.SIGSYS)
	fmt.Println("signals", <-c)
	signal.Reset()
}

// Garbage, busy goroutines that must be preempted by signals, and threads that come and go, beside the traffic.
func busy(address string) {
	stop := make(chan bool)
	for i := 0; i < 2; i++ {
		go func() {
			x := 0
			for {
				select {
				case <-stop:
					return
				default:
					for k := 0; k < 1000000; k++ {
						x += k
					}
				}
			}
		}()
	}
	go func() {
		for {
			select {
			case <-stop:
				return
			default:
				_ = make([]byte, 1<<20)
				runtime.GC()
				go func() { // a thread that ends with its goroutine
					runtime.LockOSThread()
				}()
			}
		}
	}()
	many(address, 8, 50, 512)
	close(stop)
}

func resets(address string) {
	l, err := net.Listen("tcp", address)
	must(err)
	defer l.Close()
	go serve(l, func(c net.Conn) {
		room := make([]byte, 100)
		for i := 0; i < 100; i++ {
			io.ReadFull(c, room[:10])
			c.Write(room[:10])
		}
		c.(*net.TCPConn).SetLinger(0)
		c.Close()
	})
	c := dial(l.Addr().String())
	room := make([]byte, 10)
	for i := 0; i < 100; i++ {
		c.Write(room)
		io.ReadFull(c, room)
	}
	_, err = c.Read(room)
	fmt.Println("reset", errors.Is(err, syscall.ECONNRESET))
	_, err = net.Dial("tcp", "127.0.0.1:1")
	fmt.Println("refused", errors.Is(err, syscall.ECONNREFUSED))
}

// ping ADDRESS SECONDS: round trips a second, for the benchmark.
func ping(address string, seconds time.Duration) {
	c := dial(address)
	room := make([]byte, 64)
	trip := func() {
		_, err := c.Write(room)
		must(err)
		_, err = io.ReadFull(c, room)
		must(err)
	}
	for i := 0; i < 1000; i++ {
		trip()
	}
	count, start := 0, time.Now()
	for time.Since(start) < seconds {
		for i := 0; i < 100; i++ {
			trip()
		}
		count += 100
	}
	fmt.Printf("%.0f\n", float64(count)/time.Since(start).Seconds())
}

func main() {
	if len(os.Args) < 3 {
		fmt.Println("usage: echo serve|exercise|ping ADDRESS")
		os.Exit(64)
	}
	address := os.Args[2]
	switch os.Args[1] {
	case "serve":
		l, err := net.Listen("tcp", address)
		must(err)
		serve(l, echo)
	case "ping":
		ping(address, time.Second)
	case "exercise":
		many(address, 1, 200, 64)
		many(address, 16, 100, 1000)
		many(address, 3, 20, 100000)
		bulk(address, 4<<20)
		deadlines(address)
		web("127.0.0.1:0")
		children(address)
		signals()
		busy(address)
		resets("127.0.0.1:0")
		name, err := os.Executable()
		fmt.Println("done", name != "" && err == nil)
	}
}
