# Servers: `ruby server.rb KIND PORT`, until SIGTERM.
require_relative 'ends'

trap('TERM') { exit!(0) }
listener = TCPServer.new(ADDRESS, Integer(ARGV[1]))
listener.listen(128)

def serve(sock)
  case sock.read(1)
  when 'f'
    while (data = read_frame(sock)) do send_frame(sock, data.reverse) end
  when 'l'
    sock.sync = false
    while (line = sock.gets)
      sock << line.upcase
      sock.flush if line.include?('flush')
    end
    sock.puts 'bye'
  when 'w'
    sock.write(sock.read.reverse)
  when 's'
    while (c = sock.readpartial(1)) do sock.write("done #{c}\n") unless c == '-' end
  when 'c'
    # What comes goes back, by a copy from the socket to itself.
    IO.copy_stream(sock, sock)
  when 'd'
    sock.send('!', Socket::MSG_OOB)
    sock.write('behind')
  when 'r'
    sock.read(100_000)
    sock.setsockopt(Socket::SOL_SOCKET, Socket::SO_LINGER, [1, 0].pack('ii'))
  end
rescue EOFError, Errno::ECONNRESET, Errno::EPIPE
  nil
ensure
  sock.close
end

def threaded(listener)
  loop { Thread.new(listener.accept) { |sock| serve(sock) } }
end

# One thread, IO.select, calls that never wait.
def selecting(listener)
  got = {}
  left = {}
  loop do
    readable, writable = IO.select([listener, *got.keys], left.reject { |_, data| data.empty? }.keys)
    readable.each do |sock|
      if sock == listener
        new = listener.accept_nonblock(exception: false)
        got[new] = String.new if new != :wait_readable
        left[new] = String.new if new != :wait_readable
        next
      end
      begin
        data = sock.read_nonblock(50_000, exception: false)
      rescue SystemCallError
        data = nil
      end
      next if data == :wait_readable

      if data.nil?
        got.delete(sock)
        left.delete(sock)
        sock.close
        next
      end
      got[sock] << data
      while got[sock].bytesize >= 4 && got[sock].bytesize >= 4 + (size = got[sock].unpack1('N'))
        frame = got[sock].slice!(0, 4 + size)
        left[sock] << frame[0, 4] << frame[4..].reverse
      end
    end
    writable.each do |sock|
      next unless left[sock]

      n = sock.write_nonblock(left[sock], exception: false)
      left[sock].slice!(0, n) unless n == :wait_writable
    end
  end
end

# A process a connection, of a listener that four share.
def forked(listener)
  children = Array.new(4) do
    fork do
      trap('TERM') { exit!(0) }
      loop do
        sock = listener.accept
        Process.detach(fork { serve(sock) })
        sock.close
      end
    end
  end
  trap('TERM') do
    children.each { |child| Process.kill('TERM', child) }
    exit!(0)
  end
  Process.waitall
end

send(ARGV[0], listener)
