%% Two nodes: the second asks the first, in all the ways that distribution has, and tcp sockets of gen_tcp in all their modes.
-module(node).
-export([main/0, echo/0, serve/2, busy/2]).

main() ->
    [Other] = init:get_plain_arguments(),
    Peer = list_to_atom(Other),
    pong = ping(Peer, 100),
    io:format("messages ~w~n", [messages(Peer)]),
    io:format("calls ~w~n", [lists:sum([rpc:call(Peer, erlang, '+', [I, 1]) || I <- lists:seq(1, 2000)])]),
    io:format("at once ~w~n", [at_once(Peer)]),
    io:format("large ~w~n", [large(Peer)]),
    io:format("links ~w~n", [links(Peer)]),
    io:format("gen_tcp ~w~n", [[tcp(Peer, Mode, Packet) || Mode <- [false, true, once, 10], Packet <- [raw, 4, line]]]),
    io:format("monitored ~w~n", [gone(Peer)]),
    halt(0).

ping(_, 0) -> pang;
ping(Peer, N) ->
    case net_adm:ping(Peer) of
        pong -> pong;
        pang -> timer:sleep(100), ping(Peer, N - 1)
    end.

echo() ->
    receive
        {From, stop} -> From ! stopped;
        {From, Term} -> From ! {self(), Term}, echo()
    end.

ask(Pid, Term) ->
    Pid ! {self(), Term},
    receive {Pid, Answer} -> Answer after 20000 -> exit({no_answer, Term}) end.

messages(Peer) ->
    Pid = spawn(Peer, node, echo, []),
    lists:foldl(fun(I, Sum) -> Term = {I, lists:seq(1, I rem 50), <<I:800>>}, Term = ask(Pid, Term), erlang:phash2({Sum, Term}) end,
                0, lists:seq(1, 3000)).

at_once(Peer) ->
    Own = self(),
    Pids = [spawn(fun() -> Own ! {self(), messages_of(Peer, N)} end) || N <- lists:seq(1, 20)],
    [receive {Pid, Sum} -> Sum after 30000 -> late end || Pid <- Pids].

messages_of(Peer, N) ->
    Pid = spawn(Peer, node, echo, []),
    lists:sum([begin Term = binary:copy(<<I>>, I * N), Term = ask(Pid, Term), byte_size(Term) end || I <- lists:seq(1, 100)]).

%% Fragmented by distribution, and interleaved with small ones.
large(Peer) ->
    Pid = spawn(Peer, node, echo, []),
    Small = spawn(Peer, node, echo, []),
    Term = binary:copy(<<"0123456789abcdef">>, 500000),
    [begin
         Pid ! {self(), {I, Term}},
         ask(Small, I),
         receive {Pid, {I, Back}} -> erlang:phash2({I, Back =:= Term, byte_size(Back)}) after 30000 -> late end
     end || I <- lists:seq(1, 5)].

links(Peer) ->
    process_flag(trap_exit, true),
    [begin
         Pid = spawn_link(Peer, erlang, exit, [{code, I}]),
         receive {'EXIT', Pid, Why} -> Why after 20000 -> late end
     end || I <- lists:seq(1, 50)].

serve(Own, Packet) ->
    {ok, L} = gen_tcp:listen(0, [binary, {ip, {127, 0, 0, 1}}, {packet, Packet}, {active, false}, {recbuf, 100000}]),
    {ok, Port} = inet:port(L),
    Own ! {port, Port},
    {ok, S} = gen_tcp:accept(L),
    serve_loop(S),
    gen_tcp:close(L).

serve_loop(S) ->
    case gen_tcp:recv(S, 0, 20000) of
        {ok, Bytes} -> ok = gen_tcp:send(S, Bytes), serve_loop(S);
        {error, closed} -> gen_tcp:close(S)
    end.

tcp(Peer, Mode, Packet) ->
    spawn(Peer, node, serve, [self(), Packet]),
    Port = receive {port, P} -> P after 20000 -> exit(no_port) end,
    {ok, S} = gen_tcp:connect({127, 0, 0, 1}, Port, [binary, {packet, Packet}, {active, Mode}, {nodelay, true}]),
    Lines = [iolist_to_binary([integer_to_list(I), binary:copy(<<"x">>, I * 7), "\n"]) || I <- lists:seq(1, 200)],
    Back = [begin ok = gen_tcp:send(S, Line), back(S, Mode, byte_size(Line), <<>>) end || Line <- Lines],
    ok = gen_tcp:shutdown(S, write),
    End = case Mode of
              false -> gen_tcp:recv(S, 0, 20000);
              _ -> inet:setopts(S, [{active, true}]), receive {tcp_closed, S} -> closed after 20000 -> open end
          end,
    gen_tcp:close(S),
    {Mode, Packet, Back =:= Lines, End}.

back(_, _, 0, Bytes) -> Bytes;
back(S, false, Left, Bytes) ->
    {ok, More} = gen_tcp:recv(S, 0, 20000),
    back(S, false, Left - byte_size(More), <<Bytes/binary, More/binary>>);
back(S, Mode, Left, Bytes) ->
    receive
        {tcp, S, More} ->
            case Mode of once -> inet:setopts(S, [{active, once}]); _ -> ok end,
            back(S, Mode, Left - byte_size(More), <<Bytes/binary, More/binary>>);
        {tcp_passive, S} -> inet:setopts(S, [{active, Mode}]), back(S, Mode, Left, Bytes)
    after 20000 -> {late, Left}
    end.

busy(Own, N) -> Own ! N, busy(Own, N + 1).

%% The other node dies while it sends.
gone(Peer) ->
    erlang:monitor_node(Peer, true),
    spawn(Peer, node, busy, [self(), 0]),
    receive 1000 -> ok after 20000 -> exit(nothing_came) end,
    rpc:cast(Peer, erlang, halt, [3]),
    count(0).

count(N) ->
    receive
        {nodedown, _} -> {down, N > 0};
        I when is_integer(I) -> count(N + 1)
    after 20000 -> still_there
    end.
