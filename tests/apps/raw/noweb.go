package main

// net/http takes a minute to build where Debian has it not built in.
func web(address string) {
}
