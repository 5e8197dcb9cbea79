package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
)

// Requests over connections that are kept alive.
func web(address string) {
	l, err := net.Listen("tcp", address)
	must(err)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Write(bytes.ToUpper(body))
	})}
	go server.Serve(l)
	var wait sync.WaitGroup
	results := make([]int, 8)
	for n := range results {
		wait.Add(1)
		go func(n int) {
			defer wait.Done()
			client := http.Client{Transport: &http.Transport{}}
			for i := 0; i < 50; i++ {
				body := strings.Repeat(fmt.Sprint("request ", n, i), 1+i*10)
				r, err := client.Post("http://"+l.Addr().String(), "text/plain", strings.NewReader(body))
				if err != nil {
					fmt.Println("http:", err)
					return
				}
				answer, _ := io.ReadAll(r.Body)
				r.Body.Close()
				if string(answer) == strings.ToUpper(body) {
					results[n]++
				}
			}
		}(n)
	}
	wait.Wait()
	server.Close()
	fmt.Println("http", results)
}
