package import Platform

extension DestinationOptions {
    /// The destination that these options describe.
    package func make(clock: WallClock = .system) -> any Destination {
        switch place {
        case .local(let local): LocalDestination(name: name, path: local.path)
        case .s3(let s3): S3Destination(name: name, options: s3, clock: clock)
        case .sftp(let sftp): SFTPDestination(name: name, options: sftp, clock: clock)
        }
    }
}
