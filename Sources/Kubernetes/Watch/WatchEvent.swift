/// What a watch tells of the objects of one kind.
package enum WatchEvent<Object: KubernetesObject>: Sendable {
    case added(Object)
    case modified(Object)
    case deleted(ObjectKey)
    /// Everything there is has been told: after the first list, and after each list that had to be made again.
    case synced
    /// The server cannot be reached or refuses; the watch goes on by itself. What was told before stays as it was.
    case failed(KubernetesError)
}

/// How a watch behaves. Times are bounds on how long it takes until something broken is noticed.
package struct WatchOptions: Sendable {
    /// A server ends a watch after so long, and it is begun anew from where it was; spread by up to as much again.
    package var serverTimeout: Duration = .seconds(300)
    /// No event and no bookmark (one comes about every minute) for so long: the connection is dead.
    package var silence: Duration = .seconds(150)
    package var firstPause: Duration = .milliseconds(500)
    package var longestPause: Duration = .seconds(30)
    /// Bytes of events that may wait for the handler. Past that the watch is cut and resumed when there is room.
    package var bufferBytes = 16 << 20

    package init() {}
}
