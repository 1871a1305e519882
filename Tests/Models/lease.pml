/* Two sidecars and one lease: never two leaders. The election of Sources/ClusterOps/Leadership/LeaderElector.swift as a model
 * for spin; scripts/check-lease-model runs it.
 *
 * Time passes in ticks; at each one either clock advances by one or by two, so that one may run twice as fast as the other,
 * which is the ratio of LEASE to RENEW. A request arrives at once, later, after its sender gave up on it, or never; its
 * answer comes at any later time or never. The API server orders writes by version, as resourceVersion does. */

#ifndef LEASE
#define LEASE 4
#endif
#ifndef RENEW
#define RENEW 2
#endif
#ifndef WRITES
#define WRITES 3 /* writes that are looked at: a take-over and two renewals, or two take-overs and one */
#endif

#define NOBODY 2
#define NONE 15

/* The lease in the API server. */
byte holder = NOBODY;
byte version = 0;

typedef Node {
    byte knownVersion; /* of the record last seen; NONE before any */
    byte knownHolder;
    byte age;          /* ticks since it was first seen so, up to LEASE */
    byte valid;        /* ticks that it still believes in its leadership */
    byte request;      /* 0 none, 1 read, 2 write */
    byte expected;     /* version that a write expects */
    byte since;        /* ticks since it was sent, up to RENEW */
    byte answer;       /* 0 none yet, 1 arrived and done, 2 conflict */
    byte gotVersion;   /* what a read or write that arrived has to tell */
    byte gotHolder;
    byte stray;        /* expected version of a write whose sender gave up, still on its way; NONE */
    bool mustRead      /* a write may have happened, or somebody else's has */
};
Node node[2];

#define LEADS(i) (node[i].valid > 0)

inline tick(i, d) {
    node[i].age = (node[i].age + d > LEASE -> LEASE : node[i].age + d);
    node[i].valid = (node[i].valid > d -> node[i].valid - d : 0);
    node[i].since = (node[i].since + d > RENEW -> RENEW : node[i].since + d)
}

active proctype clocks() {
    byte a, b;
    do
    :: atomic {
        if :: a = 1 :: a = 2 fi;
        if :: b = 1 :: b = 2 fi;
        tick(0, a);
        tick(1, b);
        a = 0;
        b = 0
    }
    od
}

proctype candidate(byte i) {
    do
    /* Ask what the lease says. */
    :: atomic {
        node[i].request == 0 && (node[i].mustRead || !LEADS(i)) ->
        node[i].request = 1;
        node[i].answer = 0
    }
    /* Renew what is its own, or take what has not moved for its whole time. */
    :: atomic {
        node[i].request == 0 && !node[i].mustRead && node[i].knownVersion != NONE &&
        (node[i].knownHolder == i || node[i].knownHolder == NOBODY || node[i].age >= LEASE) ->
        node[i].request = 2;
        node[i].expected = node[i].knownVersion;
        node[i].since = 0;
        node[i].answer = 0
    }
    /* A request arrives. */
    :: atomic {
        node[i].request == 1 && node[i].answer == 0 ->
        node[i].gotVersion = version;
        node[i].gotHolder = holder;
        node[i].answer = 1
    }
    :: atomic {
        node[i].request == 2 && node[i].answer == 0 && version < WRITES ->
        if
        :: node[i].expected == version ->
            version++;
            holder = i;
            node[i].gotVersion = version;
            node[i].answer = 1
        :: else -> node[i].answer = 2
        fi
    }
    /* Its answer is taken. */
    :: atomic {
        node[i].request == 1 && node[i].answer == 1 ->
        if
        :: node[i].gotVersion != node[i].knownVersion || node[i].gotHolder != node[i].knownHolder ->
            node[i].knownVersion = node[i].gotVersion;
            node[i].knownHolder = node[i].gotHolder;
            node[i].age = 0
        :: else
        fi;
        node[i].mustRead = false;
        node[i].request = 0;
        node[i].answer = 0;
        node[i].gotVersion = 0;
        node[i].gotHolder = 0
    }
    :: atomic {
        node[i].request == 2 && node[i].answer == 1 ->
        node[i].knownVersion = node[i].gotVersion;
        node[i].knownHolder = i;
        node[i].age = 0;
        /* From before it was sent. */
        node[i].valid = RENEW - node[i].since;
        node[i].request = 0;
        node[i].answer = 0;
        node[i].gotVersion = 0;
        node[i].expected = 0
    }
    :: atomic {
        node[i].request == 2 && node[i].answer == 2 ->
        node[i].mustRead = true;
        node[i].request = 0;
        node[i].answer = 0;
        node[i].expected = 0
    }
    /* It gives up on a request; a write may still arrive, or has. */
    :: atomic {
        node[i].request != 0 && (node[i].request == 1 || node[i].answer != 0 || node[i].stray == NONE) ->
        if
        :: node[i].request == 2 ->
            node[i].mustRead = true;
            if :: node[i].answer == 0 -> node[i].stray = node[i].expected :: else fi
        :: else
        fi;
        node[i].request = 0;
        node[i].answer = 0;
        node[i].gotVersion = 0;
        node[i].gotHolder = 0;
        node[i].expected = 0
    }
    /* The write that nobody waits for arrives, or is lost. */
    :: atomic {
        node[i].stray != NONE && version < WRITES ->
        if
        :: node[i].stray == version -> version++; holder = i
        :: else
        fi;
        node[i].stray = NONE
    }
    :: atomic { node[i].stray != NONE -> node[i].stray = NONE }
    od
}

init {
    atomic {
        node[0].knownVersion = NONE; node[0].knownHolder = NOBODY; node[0].stray = NONE;
        node[1].knownVersion = NONE; node[1].knownHolder = NOBODY; node[1].stray = NONE;
        run candidate(0);
        run candidate(1)
    }
}

/* The second says that the model comes to a leader at all, and to another one after it: it must be found violated. */
#ifdef REACH
ltl nobodyEver { [] !(LEADS(1) && version > 1) }
#else
ltl neverTwo { [] !(LEADS(0) && LEADS(1)) }
#endif
