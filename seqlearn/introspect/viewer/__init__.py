"""The viewer: one HTML file that shows a recording and plays it back, without any network."""

from seqlearn.introspect.viewer import built_in as built_in
from seqlearn.introspect.viewer.page import View as View
from seqlearn.introspect.viewer.page import to_html as to_html
from seqlearn.introspect.viewer.page import to_html_fragment as to_html_fragment
from seqlearn.introspect.viewer.payload import Recorded as Recorded
