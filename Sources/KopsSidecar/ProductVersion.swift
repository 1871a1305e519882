/// The product's version, as `--version`, the build information and the user agent say it.
package let productVersion = "0.1.0"
