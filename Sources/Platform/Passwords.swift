import CPlatform

/// Whether a password fits a hash in crypt(5)'s form, such as bcrypt's `$2y$…`. Slow by design: call it on a pool.
package func bcryptMatches(_ password: String, _ hash: String) -> Bool {
    kops_password_matches(password, hash) == 1
}
