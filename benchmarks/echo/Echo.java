import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;

/* Round trips of 100 bytes: `Echo server PORT`, which has a selector, and `Echo client PORT SECONDS`, which prints how many a second. */
public class Echo {
	public static void main(String[] arguments) throws IOException {
		InetSocketAddress address = new InetSocketAddress("127.0.0.1", Integer.parseInt(arguments[1]));
		if (arguments[0].equals("server"))
			serve(address);
		else
			ask(address, Double.parseDouble(arguments[2]));
	}

	static void serve(InetSocketAddress address) throws IOException {
		Selector selector = Selector.open();
		ServerSocketChannel listener = ServerSocketChannel.open().bind(address);
		listener.configureBlocking(false);
		listener.register(selector, SelectionKey.OP_ACCEPT);
		while (true) {
			selector.select();
			for (SelectionKey key : selector.selectedKeys()) {
				if (key.isAcceptable()) {
					SocketChannel accepted = listener.accept();
					accepted.configureBlocking(false);
					accepted.register(selector, SelectionKey.OP_READ, ByteBuffer.allocateDirect(65536));
				} else {
					echo(key);
				}
			}
			selector.selectedKeys().clear();
		}
	}

	static void echo(SelectionKey key) throws IOException {
		SocketChannel channel = (SocketChannel)key.channel();
		ByteBuffer buffer = ((ByteBuffer)key.attachment()).clear();
		if (channel.read(buffer) < 0) {
			channel.close();
			return;
		}
		buffer.flip();
		while (buffer.hasRemaining())
			channel.write(buffer);
	}

	static void ask(InetSocketAddress address, double seconds) throws IOException {
		SocketChannel channel = SocketChannel.open(address);
		ByteBuffer buffer = ByteBuffer.allocateDirect(100);
		long begin = System.nanoTime(), count = 0;
		double passed = 0;
		for (; passed < seconds; count++, passed = (System.nanoTime() - begin) / 1e9) {
			buffer.clear();
			while (buffer.hasRemaining())
				channel.write(buffer);
			buffer.clear();
			while (buffer.hasRemaining())
				if (channel.read(buffer) < 0)
					throw new IOException("the server has ended");
		}
		System.out.println(count / passed);
	}
}
