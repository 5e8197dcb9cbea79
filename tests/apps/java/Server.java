import java.io.*;
import java.net.*;
import java.nio.*;
import java.nio.channels.*;
import java.util.*;
import java.util.concurrent.*;
import java.util.zip.CRC32;

/** Three servers in one: a selector's echo on the port, threads that do as they are told on the next, completion handlers' echo behind it. */
class Server {
	public static void main(String[] arguments) throws Exception {
		InetAddress host = InetAddress.getByName("127.0.0.1");
		int port = Integer.parseInt(arguments[0]);

		asynchronous(new InetSocketAddress(host, port + 2));
		ServerSocket listener = new ServerSocket(port + 1, 100, host);
		Thread acceptor = new Thread(() -> accept(listener));
		acceptor.start();
		selector(new InetSocketAddress(host, port));
		listener.close();
	}

	/** Echoes what comes as it comes; a client that sends no more gets the rest and an end. A message of one byte 'q' from the first ends it. */
	static void selector(InetSocketAddress address) throws IOException {
		Selector selector = Selector.open();
		ServerSocketChannel listener = ServerSocketChannel.open();
		listener.bind(address, 100);
		listener.configureBlocking(false);
		listener.register(selector, SelectionKey.OP_ACCEPT);
		System.out.println("ready");
		while (true) {
			selector.select();
			for (Iterator<SelectionKey> keys = selector.selectedKeys().iterator(); keys.hasNext(); ) {
				SelectionKey key = keys.next();
				keys.remove();
				if (key.isAcceptable()) {
					SocketChannel channel = listener.accept();
					channel.configureBlocking(false);
					channel.register(selector, SelectionKey.OP_READ, ByteBuffer.allocateDirect(50000));
				} else {
					echo(key);
				}
			}
		}
	}

	static void echo(SelectionKey key) throws IOException {
		SocketChannel channel = (SocketChannel) key.channel();
		ByteBuffer buffer = (ByteBuffer) key.attachment();
		boolean end = false;

		try {
			if (key.isReadable() && buffer.hasRemaining())
				end = channel.read(buffer) < 0;
			buffer.flip();
			channel.write(buffer);
			buffer.compact();
			if (end && buffer.position() == 0) {
				channel.close();
				return;
			}
			key.interestOps(end ? SelectionKey.OP_WRITE : (buffer.hasRemaining() ? SelectionKey.OP_READ : 0)
				| (buffer.position() > 0 ? SelectionKey.OP_WRITE : 0));
		} catch (IOException e) {
			System.out.println("echo: " + e.getMessage());
			channel.close();
		}
	}

	static void accept(ServerSocket listener) {
		while (true) {
			try {
				Socket socket = listener.accept();
				Thread thread = new Thread(() -> serve(socket));
				thread.setDaemon(true);
				thread.start();
			} catch (IOException e) {
				return;
			}
		}
	}

	/** Does what the client's bytes ask for, until it has no more to say. */
	static void serve(Socket socket) {
		try (socket) {
			DataInputStream in = new DataInputStream(new BufferedInputStream(socket.getInputStream()));
			DataOutputStream out = new DataOutputStream(new BufferedOutputStream(socket.getOutputStream()));
			for (int asked; (asked = in.read()) >= 0; ) {
				switch (asked) {
				case 'l': /* a line, and its echo */
					out.writeUTF(in.readUTF().toUpperCase());
					break;
				case 's': /* so many bytes; tell their checksum */
					out.writeLong(checksum(in, in.readLong()));
					break;
				case 'e': /* all bytes to the end; tell their checksum */
					out.writeLong(checksum(in, Long.MAX_VALUE));
					break;
				case 'g': /* send so many bytes */
					generate(out, in.readLong());
					break;
				case 'd': /* a byte that comes late */
					Thread.sleep(in.readInt());
					out.write('d');
					break;
				case 'r': /* a reset */
					socket.setSoLinger(true, 0);
					return;
				case 'u': /* urgent data among other */
					socket.setOOBInline(true);
					out.write('u');
					break;
				case 'q':
					System.exit(0);
				}
				out.flush();
			}
		} catch (Exception e) {
			System.out.println("thread: " + e.getMessage());
		}
	}

	static long checksum(InputStream in, long count) throws IOException {
		CRC32 crc = new CRC32();
		byte[] bytes = new byte[30000];

		while (count > 0) {
			int got = in.read(bytes, 0, (int) Math.min(bytes.length, count));
			if (got < 0)
				break;
			crc.update(bytes, 0, got);
			count -= got;
		}
		return crc.getValue();
	}

	static void generate(OutputStream out, long count) throws IOException {
		byte[] bytes = new byte[20000];

		for (long at = 0; at < count; at += bytes.length) {
			for (int i = 0; i < bytes.length; i++)
				bytes[i] = (byte) (at + i * 7);
			out.write(bytes, 0, (int) Math.min(bytes.length, count - at));
		}
	}

	static void asynchronous(InetSocketAddress address) throws IOException {
		AsynchronousServerSocketChannel listener = AsynchronousServerSocketChannel.open().bind(address, 100);
		listener.accept(null, new CompletionHandler<AsynchronousSocketChannel, Void>() {
			public void completed(AsynchronousSocketChannel channel, Void nothing) {
				listener.accept(null, this);
				new Echo(channel).read();
			}
			public void failed(Throwable e, Void nothing) { System.out.println("accept: " + e.getMessage()); }
		});
	}

	static class Echo {
		final AsynchronousSocketChannel channel;
		final ByteBuffer buffer = ByteBuffer.allocate(30000);

		Echo(AsynchronousSocketChannel channel) { this.channel = channel; }

		void read() {
			buffer.clear();
			channel.read(buffer, null, new CompletionHandler<Integer, Void>() {
				public void completed(Integer got, Void nothing) {
					if (got < 0) {
						try { channel.close(); } catch (IOException e) { }
						return;
					}
					buffer.flip();
					write();
				}
				public void failed(Throwable e, Void nothing) { System.out.println("read: " + e.getMessage()); }
			});
		}

		void write() {
			channel.write(buffer, null, new CompletionHandler<Integer, Void>() {
				public void completed(Integer put, Void nothing) {
					if (buffer.hasRemaining())
						write();
					else
						read();
				}
				public void failed(Throwable e, Void nothing) { System.out.println("write: " + e.getMessage()); }
			});
		}
	}
}
