import java.io.*;
import java.net.*;
import java.net.http.*;
import java.nio.*;
import java.nio.channels.*;
import java.nio.file.*;
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.*;
import java.util.zip.CRC32;
import com.sun.net.httpserver.*;

/** Asks the servers of Server.java for everything that Java's sockets can do, and prints what came of it. */
class Client {
	static InetAddress host;
	static int port;
	static Path file;

	interface Exercise { Object run() throws Exception; }

	static void exercise(String name, Exercise exercise) {
		Object outcome;
		long begin = System.nanoTime();
		try {
			outcome = exercise.run();
		} catch (Throwable e) {
			outcome = e;
		}
		System.out.println(name + ": " + outcome);
		System.err.println(name + " took " + (System.nanoTime() - begin) / 1000000 + " ms");
	}

	public static void main(String[] arguments) throws Exception {
		host = InetAddress.getByName("127.0.0.1");
		port = Integer.parseInt(arguments[0]);
		file = Path.of(arguments[1]);
		exercise("selector", Client::selector);
		exercise("threads", Client::threads);
		exercise("time-outs", Client::timeouts);
		exercise("closed by another thread", Client::closed);
		exercise("interrupted", Client::interrupted);
		exercise("half-closed", Client::halfClosed);
		exercise("files", Client::files);
		exercise("gathered and scattered", Client::gathered);
		exercise("completion handlers", Client::asynchronous);
		exercise("reset", Client::reset);
		exercise("urgent", Client::urgent);
		exercise("HTTP", Client::http);
		try (Socket socket = new Socket(host, port + 1)) {
			socket.getOutputStream().write('q');
			socket.getInputStream().read();
		}
		System.exit(0);
	}

	static byte[] content(int seed, int count) {
		byte[] bytes = new byte[count];
		new Random(seed).nextBytes(bytes);
		return bytes;
	}

	static long crc(byte[] bytes) {
		CRC32 crc = new CRC32();
		crc.update(bytes);
		return crc.getValue();
	}

	static class Peer {
		SocketChannel channel;
		ByteBuffer out, in;
		int message;
		CRC32 crc = new CRC32();
	}

	/** Thirty clients in one selector: messages of many sizes, each sent when the one before is back. */
	static Object selector() throws IOException {
		Selector selector = Selector.open();
		final int clients = 30, messages = 100;
		int open = clients;
		long sum = 0;

		for (int i = 0; i < clients; i++) {
			Peer peer = new Peer();
			peer.channel = SocketChannel.open();
			peer.channel.configureBlocking(false);
			peer.channel.setOption(StandardSocketOptions.TCP_NODELAY, i % 2 == 0);
			peer.channel.connect(new InetSocketAddress(host, port));
			peer.channel.register(selector, SelectionKey.OP_CONNECT, peer);
		}
		while (open > 0) {
			selector.select(10000);
			if (selector.selectedKeys().isEmpty())
				return "nothing for ten seconds, " + open + " open";
			for (SelectionKey key : selector.selectedKeys()) {
				Peer peer = (Peer) key.attachment();
				if (key.isConnectable()) {
					peer.channel.finishConnect();
					next(key, peer);
					continue;
				}
				if (key.isWritable()) {
					peer.channel.write(peer.out);
					if (!peer.out.hasRemaining())
						key.interestOps(SelectionKey.OP_READ);
				}
				if (key.isReadable()) {
					if (peer.channel.read(peer.in) < 0)
						return "an early end";
					if (peer.in.hasRemaining())
						continue;
					peer.crc.update(peer.in.array());
					if (peer.message < messages) {
						next(key, peer);
					} else {
						sum += peer.crc.getValue();
						peer.channel.close();
						open--;
					}
				}
			}
			selector.selectedKeys().clear();
		}
		return sum;
	}

	static void next(SelectionKey key, Peer peer) {
		byte[] bytes = content(peer.message, 1 + peer.message * peer.message * 3);
		peer.message++;
		peer.out = ByteBuffer.wrap(bytes);
		peer.in = ByteBuffer.allocate(bytes.length);
		key.interestOps(SelectionKey.OP_READ | SelectionKey.OP_WRITE);
	}

	static class Line implements Closeable {
		final Socket socket;
		final DataInputStream in;
		final DataOutputStream out;

		Line() throws IOException {
			socket = new Socket(host, port + 1);
			in = new DataInputStream(new BufferedInputStream(socket.getInputStream()));
			out = new DataOutputStream(new BufferedOutputStream(socket.getOutputStream()));
		}
		String say(String text) throws IOException {
			out.write('l');
			out.writeUTF(text);
			out.flush();
			return in.readUTF();
		}
		void warm() throws IOException {
			for (int i = 0; i < 50; i++)
				say("words " + i);
		}
		long send(byte[] bytes) throws IOException {
			out.write('s');
			out.writeLong(bytes.length);
			out.write(bytes);
			out.flush();
			return in.readLong();
		}
		public void close() throws IOException { socket.close(); }
	}

	static Object threads() throws Exception {
		ExecutorService pool = Executors.newFixedThreadPool(8);
		List<Future<Long>> futures = new ArrayList<>();

		for (int t = 0; t < 8; t++) {
			final int seed = t;
			futures.add(pool.submit(() -> {
				long sum = 0;
				try (Line line = new Line()) {
					for (int i = 0; i < 500; i++)
						sum += line.say("client " + seed + " says " + i).hashCode();
					byte[] bytes = content(seed, 1000000);
					if (line.send(bytes) != crc(bytes))
						throw new IOException("another checksum");
					line.out.write('g');
					line.out.writeLong(2000000);
					line.out.flush();
					sum += Server.checksum(line.in, 2000000);
				}
				return sum;
			}));
		}
		long sum = 0;
		for (Future<Long> future : futures)
			sum += future.get();
		pool.shutdown();
		return sum;
	}

	static Object timeouts() throws Exception {
		StringBuilder told = new StringBuilder();
		try (Line line = new Line()) {
			line.warm();
			for (int i = 0; i < 3; i++) {
				line.socket.setSoTimeout(50);
				line.out.write('d');
				line.out.writeInt(200);
				line.out.flush();
				try {
					told.append(line.in.read());
				} catch (SocketTimeoutException e) {
					told.append(e.getMessage()).append(", ");
				}
				line.socket.setSoTimeout(0);
				told.append(line.in.read()).append(line.say("later")).append(line.in.available()).append("; ");
			}
		}
		return told;
	}

	/** Runs the blocking call, has another thread do what it does 100 ms later, and tells what the call said. */
	static String during(Exercise blocking, Exercise other) throws Exception {
		Thread thread = new Thread(() -> {
			try {
				Thread.sleep(100);
				other.run();
			} catch (Exception e) {
				System.out.println("meanwhile: " + e);
			}
		});
		thread.start();
		try {
			return "returned " + blocking.run();
		} catch (Exception e) {
			return e.toString();
		} finally {
			boolean interrupted = Thread.interrupted();
			thread.join();
			if (interrupted)
				Thread.currentThread().interrupt();
		}
	}

	static Object closed() throws Exception {
		List<String> told = new ArrayList<>();
		for (int i = 0; i < 3; i++) {
			Line line = new Line();
			line.warm();
			told.add(during(() -> line.in.read(), () -> { line.close(); return null; }));
			Line writer = new Line();
			writer.warm();
			told.add(during(() -> { writer.out.write('d'); writer.out.writeInt(2000); while (true) writer.out.write(content(1, 100000)); },
				() -> { writer.close(); return null; }));
			Line shut = new Line();
			shut.warm();
			told.add(during(() -> shut.in.read(), () -> { shut.socket.shutdownInput(); return null; }));
			shut.close();
			SocketChannel channel = SocketChannel.open(new InetSocketAddress(host, port));
			warm(channel);
			told.add(during(() -> channel.read(ByteBuffer.allocate(10)), () -> { channel.close(); return null; }));
			ServerSocket listener = new ServerSocket(0);
			told.add(during(() -> listener.accept(), () -> { listener.close(); return null; }));
		}
		return told;
	}

	static Object interrupted() throws Exception {
		List<String> told = new ArrayList<>();
		for (int i = 0; i < 3; i++) {
			SocketChannel channel = SocketChannel.open(new InetSocketAddress(host, port));
			warm(channel);
			Thread reader = Thread.currentThread();
			told.add(during(() -> channel.read(ByteBuffer.allocate(10)), () -> { reader.interrupt(); return null; }));
			told.add(channel.isOpen() + " " + Thread.interrupted());
			Selector selector = Selector.open();
			SocketChannel other = SocketChannel.open(new InetSocketAddress(host, port));
			warm(other);
			other.configureBlocking(false);
			other.register(selector, SelectionKey.OP_READ);
			told.add(during(() -> selector.select(), () -> selector.wakeup().isOpen()));
			told.add(during(() -> selector.select(), () -> { reader.interrupt(); return null; }) + Thread.interrupted());
			told.add(during(() -> selector.select() <= 1, () -> { other.close(); selector.wakeup(); return null; }));
			selector.close();
		}
		return told;
	}

	static void warm(SocketChannel channel) throws IOException {
		for (int i = 0; i < 50; i++) {
			ByteBuffer bytes = ByteBuffer.wrap(content(i, 100));
			channel.write(bytes);
			bytes.clear();
			while (bytes.hasRemaining())
				channel.read(bytes);
		}
	}

	static Object halfClosed() throws Exception {
		List<Object> told = new ArrayList<>();
		for (int i = 0; i < 10; i++) {
			try (Line line = new Line()) {
				line.warm();
				byte[] bytes = content(i, 300000);
				line.out.write('e');
				line.out.write(bytes);
				line.out.flush();
				line.socket.shutdownOutput();
				told.add(line.in.readLong() == crc(bytes));
				told.add(line.in.read());
			}
		}
		return told;
	}

	/** Files to and from channels: sendfile, and mapped memory. */
	static Object files() throws Exception {
		List<Object> told = new ArrayList<>();
		try (FileChannel source = FileChannel.open(file); SocketChannel channel = SocketChannel.open(new InetSocketAddress(host, port + 1))) {
			long size = source.size();
			ByteBuffer head = ByteBuffer.allocate(9), answer = ByteBuffer.allocate(8);
			for (int i = 0; i < 2; i++) {
				head.clear().put((byte) 's').putLong(size).flip();
				channel.write(head);
				for (long at = 0; at < size; )
					at += source.transferTo(at, size - at, channel);
				answer.clear();
				while (answer.hasRemaining())
					channel.read(answer);
				told.add(answer.getLong(0) == Server.checksum(Files.newInputStream(file), size));
			}
			head.clear().put((byte) 'g').putLong(5000000).flip();
			channel.write(head);
			Path copy = Files.createTempFile(file.getParent(), "copy", "");
			try (FileChannel target = FileChannel.open(copy, StandardOpenOption.WRITE)) {
				for (long at = 0; at < 5000000; )
					at += target.transferFrom(channel, at, 5000000 - at);
			}
			told.add(Server.checksum(Files.newInputStream(copy), 5000000));
			Files.delete(copy);
		}
		return told;
	}

	static Object gathered() throws Exception {
		CRC32 crc = new CRC32();
		try (SocketChannel channel = SocketChannel.open(new InetSocketAddress(host, port))) {
			for (int i = 0; i < 200; i++) {
				ByteBuffer[] parts = new ByteBuffer[40], back = new ByteBuffer[17];
				long total = 0, got = 0;
				for (int j = 0; j < parts.length; j++) {
					parts[j] = j % 2 == 0 ? ByteBuffer.allocateDirect(j * 5) : ByteBuffer.allocate(j * 5);
					parts[j].put(content(i + j, j * 5)).flip();
					total += j * 5;
				}
				for (long put = 0; put < total; )
					put += channel.write(parts);
				for (int j = 0; j < back.length; j++)
					back[j] = ByteBuffer.allocate((int) (j < back.length - 1 ? total / back.length : total - total / back.length * j));
				while (got < total)
					got += channel.read(back);
				for (ByteBuffer part : back)
					crc.update(part.array());
			}
		}
		return crc.getValue();
	}

	static class Caller {
		final AsynchronousSocketChannel channel;
		final CountDownLatch done;
		final AtomicLong sum;
		final AtomicInteger halves = new AtomicInteger();
		int message;
		ByteBuffer out, in;

		Caller(CountDownLatch done, AtomicLong sum) throws Exception {
			channel = AsynchronousSocketChannel.open();
			channel.connect(new InetSocketAddress(host, port + 2)).get();
			this.done = done;
			this.sum = sum;
		}
		void next() {
			out = ByteBuffer.wrap(content(message, 1 + message * 97));
			in = ByteBuffer.allocate(out.limit());
			read();
			write();
		}
		void write() {
			channel.write(out, null, new CompletionHandler<Integer, Void>() {
				public void completed(Integer put, Void nothing) {
					if (out.hasRemaining())
						write();
					else
						message();
				}
				public void failed(Throwable e, Void nothing) { fail(e); }
			});
		}
		void read() {
			channel.read(in, 20, TimeUnit.SECONDS, null, new CompletionHandler<Integer, Void>() {
				public void completed(Integer got, Void nothing) {
					if (got < 0)
						fail(new IOException("an early end"));
					else if (in.hasRemaining())
						read();
					else
						message();
				}
				public void failed(Throwable e, Void nothing) { fail(e); }
			});
		}
		/** Sent, and back: in either order. */
		void message() {
			if (halves.incrementAndGet() % 2 != 0)
				return;
			sum.addAndGet(crc(in.array()));
			if (++message < 150) {
				next();
				return;
			}
			try { channel.close(); } catch (IOException e) { }
			done.countDown();
		}
		void fail(Throwable e) {
			System.out.println("failed: " + e);
			done.countDown();
		}
	}

	static Object asynchronous() throws Exception {
		CountDownLatch done = new CountDownLatch(16);
		AtomicLong sum = new AtomicLong();
		for (int i = 0; i < 16; i++)
			new Caller(done, sum).next();
		return done.await(60, TimeUnit.SECONDS) + " " + sum;
	}

	static Object reset() throws Exception {
		List<String> told = new ArrayList<>();
		for (int i = 0; i < 5; i++) {
			try (Line line = new Line()) {
				line.warm();
				line.out.write('r');
				line.out.flush();
				told.add("" + line.in.read());
			} catch (SocketException e) {
				told.add(e.getMessage());
			}
		}
		return told;
	}

	static Object urgent() throws Exception {
		try (Line line = new Line()) {
			line.warm();
			line.out.write('u');
			line.out.flush();
			int first = line.in.read();
			line.out.write("labc".getBytes(), 0, 1);
			line.out.writeShort(3);
			line.out.write('a');
			line.out.flush();
			line.socket.sendUrgentData('b');
			line.out.write('c');
			line.out.flush();
			return first + line.in.readUTF();
		}
	}

	/** The JDK's own server and client. */
	static Object http() throws Exception {
		HttpServer server = HttpServer.create(new InetSocketAddress(host, 0), 100);
		server.setExecutor(Executors.newFixedThreadPool(4));
		server.createContext("/", exchange -> {
			byte[] body = exchange.getRequestBody().readAllBytes();
			byte[] answer = body.length > 0 ? body : content(exchange.getRequestURI().getPath().length(), 20000);
			exchange.sendResponseHeaders(200, answer.length);
			exchange.getResponseBody().write(answer);
			exchange.close();
		});
		server.start();
		String base = "http://127.0.0.1:" + server.getAddress().getPort();
		HttpClient client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
		List<CompletableFuture<HttpResponse<byte[]>>> answers = new ArrayList<>();
		long sum = 0;

		for (int i = 0; i < 100; i++) {
			HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(base + "/" + "x".repeat(i % 10)));
			if (i % 3 == 0)
				request.POST(HttpRequest.BodyPublishers.ofByteArray(content(i, i * 10000 + 1)));
			if (i % 10 == 9)
				sum += crc(client.send(request.build(), HttpResponse.BodyHandlers.ofByteArray()).body());
			else
				answers.add(client.sendAsync(request.build(), HttpResponse.BodyHandlers.ofByteArray()));
		}
		for (CompletableFuture<HttpResponse<byte[]>> answer : answers)
			sum += crc(answer.get(30, TimeUnit.SECONDS).body());
		server.stop(0);
		return sum;
	}
}
