# `ruby client.rb KIND PORT FILE`: what it finds is what it prints.
require_relative 'ends'
require 'net/http'
require 'tempfile'
require 'webrick'

$stdout.sync = true
Thread.abort_on_exception = true

def opened(what)
  sock = connected
  sock.write(what)
  sock
end

def name_of
  yield
rescue SystemCallError, IOError, Timeout::Error, RuntimeError => e
  e.class.to_s
end

# Threads, each with a connection and one at a time in the interpreter.
def frames
  found = (1..8).map { |seed| Thread.new { 3.times.map { exchange(opened('f'), seed, SIZES) } } }.map(&:value)
  puts "frames: #{digest(*found.flatten)}"
end

def lines
  sock = opened('l')
  seen = String.new
  300.times do |i|
    sock.puts "line #{i}, flush"
    seen << sock.gets
  end
  5000.times { |i| sock.puts "some more #{i}" }
  sock.close_write
  seen << sock.read
  puts "lines: #{seen.bytesize} #{digest(seen)} #{seen.lines.last}"
  sock = opened('l')
  sock.write("0123456789\n" * 20_000)
  sock.close_write
  puts "lines: #{sock.each_line.count}, #{sock.eof?}"
end

def whole
  sock = opened('w')
  data = content(7, 2_000_000)
  sock.write(data)
  sock.close_write
  puts "whole: #{sock.read == data.reverse}, then #{sock.read(1).inspect}"
end

# A file by sendfile, a StringIO by writes, and back into a file and a pipe.
def copied
  file = ARGV[2]
  wanted = Digest::SHA256.file(file).hexdigest[0, 16]
  found = [nil, 100_000].map do |most|
    sock = opened('c')
    back = Tempfile.new
    sender = Thread.new do
      most ? IO.copy_stream(file, sock, most) : IO.copy_stream(file, sock)
      sock.close_write
    end
    n = IO.copy_stream(sock, back.path)
    sender.join
    [n, Digest::SHA256.file(back.path).hexdigest[0, 16]]
  end
  puts "copied: #{found[0] == [File.size(file), wanted]}, #{found[1][0]} #{found[1][1] == digest(File.binread(file, 100_000))}"
  sock = opened('c')
  r, w = IO.pipe
  reader = Thread.new { r.read }
  sender = Thread.new do
    IO.copy_stream(StringIO.new(content(8, 300_000)), sock)
    sock.close_write
  end
  n = IO.copy_stream(sock, w)
  w.close
  sender.join
  puts "copied: #{n} #{digest(reader.value) == digest(content(8, 300_000))}"
end

def timeouts
  sock = opened('s')
  found = (1..200).map do |i|
    sock.write((i % 10).to_s)
    sock.gets
  end
  found = [digest(*found)]
  3.times do
    found << name_of { Timeout.timeout(0.05) { sock.gets } }
    sock.write('x')
    found << sock.gets.chomp
  end
  found << sock.wait_readable(0.02).inspect
  found << (IO.select([sock], nil, nil, 0.02) || 'nothing')
  sock.write('y')
  found << (IO.select([sock], nil, nil, 60) ? 'ready' : 'nothing')
  found << sock.gets.chomp
  # A thread is woken out of its read by another's exception, and by a close.
  reader = Thread.new { name_of { sock.gets } }
  Thread.pass until reader.stop?
  reader.raise('enough')
  found << reader.value
  sock.write('z')
  found << sock.gets.chomp
  reader = Thread.new { name_of { sock.gets } }
  Thread.pass until reader.stop?
  sock.close
  found << reader.value
  reader = Thread.new { opened('s').gets }
  Thread.pass until reader.stop?
  reader.kill
  found << reader.join(60).value.inspect
  puts "timeouts: #{found.join(', ')}"
end

def flags
  sock = opened('f')
  found = [exchange(sock, 1, [100] * 50)]
  send_frame(sock, 'peeked')
  sock.wait_readable(60)
  found << sock.recv(10, Socket::MSG_PEEK | Socket::MSG_WAITALL)[4..]
  found << read_frame(sock)
  found << name_of { sock.recv_nonblock(1) } << sock.read_nonblock(1, exception: false)
  found << sock.remote_address.ip_port.eql?(Integer(ARGV[1]))
  sock.close_write
  found << sock.recv(1).inspect << name_of { sock.write('x') }
  urgent = opened('d')
  IO.select(nil, nil, [urgent], 60)
  found << urgent.recv(1, Socket::MSG_OOB) << urgent.read(6)
  reset = opened('r')
  reset.write('x' * 100_000)
  found << name_of { reset.readpartial(1) }
  found << name_of { TCPSocket.new(ADDRESS, 1) }
  puts "flags: #{found.join(', ')}"
end

# A stream is passed to a child by SCM_RIGHTS, and inherited by another that is executed.
def passed
  sock = opened('f')
  found = [exchange(sock, 2, [1000] * 30)]
  mine, its = UNIXSocket.pair
  child = fork do
    mine.close
    got = its.recv_io(TCPSocket)
    its.write(exchange(got, 3, SIZES))
  end
  its.close
  mine.send_io(sock)
  found << mine.read
  Process.wait(child)
  found << exchange(sock, 4, SIZES)
  program = 'require ARGV[0]; print exchange(TCPSocket.for_fd(5), 6, SIZES)'
  found << IO.popen([RbConfig.ruby, '-e', program, File.join(__dir__, 'ends'), { 5 => sock }], &:read)
  found << exchange(sock, 7, SIZES)
  puts "passed: #{found.join(' ')}"
end

# Ruby's own HTTP server in a thread, its client in others; connections that are kept, bodies in chunks.
def web
  log = WEBrick::Log.new(File::NULL)
  server = WEBrick::HTTPServer.new(BindAddress: ADDRESS, Port: 0, Logger: log, AccessLog: [])
  server.mount_proc('/reverse') { |request, response| response.body = request.body.reverse }
  server.mount_proc('/chunks') do |_, response|
    response.chunked = true
    response.body = proc { |out| 100.times { |i| out.write(content(i, 1000 + i)) } }
  end
  serving = Thread.new { server.start }
  chunks = (0...100).map { |i| content(i, 1000 + i) }.join
  turns = (1..4).map do |seed|
    Thread.new do
      Net::HTTP.start(ADDRESS, server.config[:Port]) do |http|
        (1..20).count do |i|
          data = content(seed * 100 + i, i * 997)
          http.post('/reverse', data).body.b == data.reverse
        end + (http.get('/chunks').body.b == chunks ? 1 : 0)
      end
    end
  end
  found = turns.map(&:value)
  server.shutdown
  serving.join
  puts "web: #{found.join(' ')} right"
end

def many
  all = Array.new(30) { connected }
  20.times do |turn|
    all.each_with_index { |sock, i| send_frame(sock, content(turn * 100 + i, 1 + 301 * turn)) }
    left = all.to_h { |sock| [sock, String.new] }
    until left.empty?
      IO.select(left.keys, nil, nil, 60)[0].each do |sock|
        left[sock] << sock.readpartial(100_000)
        next if left[sock].bytesize < 5 + 301 * turn
        raise 'another answer' if left[sock][4..].reverse != content(turn * 100 + all.index(sock), 1 + 301 * turn)

        left.delete(sock)
      end
    end
  end
  puts 'many: right'
end

def large = puts("large: #{exchange(connected, 9, [3_000_000, 5, 1_000_000])}")
def forks = puts("forks: #{(1..12).map { |seed| Thread.new { exchange(opened('f'), seed, SIZES) } }.map(&:value).join(' ')}")

{ 'threaded' => %i[frames lines whole copied timeouts flags passed web], 'selecting' => %i[many large], 'forked' => %i[forks] }[ARGV[0]]
  .each { |exercise| send(exercise) }
