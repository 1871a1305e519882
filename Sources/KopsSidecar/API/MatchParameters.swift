import MetricModel
import PromQL

/// The selectors that `match[]` gives.
func matcherSets(_ request: APIRequest) throws(APIError) -> [[LabelMatcher]] {
    var sets: [[LabelMatcher]] = []
    for text in request.parameters("match[]") {
        let matchers: [LabelMatcher]
        do {
            matchers = try parseMetricSelector(text)
        } catch {
            if error.message.contains("must contain at least one non-empty matcher") {
                throw .parameter("match[]", "match[] must contain at least one non-empty matcher")
            }
            throw .parameter("match[]", error.description)
        }
        sets.append(matchers)
    }
    return sets
}

/// `start` and `end`, open where they are not given.
func bounds(_ request: APIRequest) throws(APIError) -> (Int64, Int64) {
    (try request.time("start", or: minimumTime), try request.time("end", or: maximumTime))
}
