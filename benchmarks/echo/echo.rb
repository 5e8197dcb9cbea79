# Round trips of 100 bytes: `echo.rb server PORT` and `echo.rb client PORT SECONDS`, which prints how many a second.
require 'socket'

MESSAGE = 'x' * 100

def serve(port)
  Socket.tcp_server_loop('127.0.0.1', port) do |connection, _|
    loop { connection.write(connection.readpartial(65536)) }
  rescue EOFError
    connection.close
  end
end

def now = Process.clock_gettime(Process::CLOCK_MONOTONIC)

def ask(port, seconds)
  connection = TCPSocket.new('127.0.0.1', port)
  count = 0
  start = now
  while (passed = now - start) < seconds
    connection.write(MESSAGE)
    raise 'another message came back' unless connection.read(MESSAGE.size) == MESSAGE
    count += 1
  end
  puts count / passed
end

ARGV[0] == 'server' ? serve(ARGV[1].to_i) : ask(ARGV[1].to_i, ARGV[2].to_f)
